//! The commands of a shell text, and what is between them.

use std::ops::Range;

use crate::{
    shell::{self, Ending, Token},
    word::{Placed, Source},
};

/// A command of a text: its words, and what it is fed.
#[derive(Default)]
pub struct Simple {
    pub words: Vec<usize>,
    pub here_strings: Vec<usize>,
    pub documents: Vec<Range<usize>>,
    /// `< <(…)`
    pub inputs: Vec<usize>,
    /// `> file`
    pub outputs: Vec<usize>,
}

/// The commands of a text.
pub struct Script<'a, 's> {
    pub tokens: Vec<Token<'a>>,
    pub of: &'s Source<'s>,
    pub commands: Vec<Simple>,
    pub steps: Vec<Step>,
}

/// What a text does, in order.
#[derive(Clone, Copy)]
pub enum Step {
    /// The next of its commands.
    Command,
    Pipe,
    End,
    Open,
    Close,
}

// === impl Script ===

impl<'a, 's> Script<'a, 's> {
    pub fn read(text: &'a [u8], of: &'s Source<'s>, ending: Ending) -> Self {
        let tokens = shell::read(text, ending);
        let mut script = Self {
            tokens,
            of,
            commands: Vec::new(),
            steps: Vec::new(),
        };
        let mut simple = Simple::default();
        let mut target = None;
        for (index, token) in script.tokens.iter().enumerate() {
            match token {
                Token::Word(word) => match target.take() {
                    None => simple.words.push(index),
                    Some(Target::HereString) => simple.here_strings.push(index),
                    Some(Target::Input) if !word.substitutions.is_empty() => {
                        simple.inputs.push(index);
                    }
                    Some(Target::Output) => simple.outputs.push(index),
                    Some(_) => {}
                },
                Token::Input => target = Some(Target::Input),
                Token::Output => target = Some(Target::Output),
                Token::HereString => target = Some(Target::HereString),
                Token::HereDocument(body) => simple.documents.push(body.clone()),
                Token::Comment(_) => {}
                Token::End | Token::Pipe | Token::Open | Token::Close => {
                    target = None;
                    if !simple.is_empty() {
                        script.commands.push(std::mem::take(&mut simple));
                        script.steps.push(Step::Command);
                    }
                    script.steps.push(match token {
                        Token::Pipe => Step::Pipe,
                        Token::Open => Step::Open,
                        Token::Close => Step::Close,
                        _ => Step::End,
                    });
                }
            }
        }
        if !simple.is_empty() {
            script.commands.push(simple);
            script.steps.push(Step::Command);
        }
        script
    }

    pub fn word(&self, index: usize) -> Option<Placed<'_>> {
        match &self.tokens[index] {
            Token::Word(word) => Some(Placed { word, of: self.of }),
            _ => None,
        }
    }

    pub fn words(&self, number: usize) -> Vec<Placed<'_>> {
        let words = self.commands[number].words.iter();
        words.filter_map(|index| self.word(*index)).collect()
    }
}

/// What the next word is of a redirection.
#[derive(Clone, Copy)]
enum Target {
    HereString,
    Input,
    Output,
}

impl Simple {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && !self.is_fed()
    }

    pub fn is_fed(&self) -> bool {
        !(self.here_strings.is_empty() && self.documents.is_empty() && self.inputs.is_empty())
    }
}
