//! JavaScript: `require`, `import`, workers; and what makes code while it runs.

use skep_catalogue::Language;

use super::{
    Load, Scan,
    token::{Token, Tokens, hexadecimal, is_word, line_end, push_character, word_end},
};

/// Functions that load what their argument says, under names of which nobody has an ordinary use.
const LOADS_ANYTHING: [&[u8]; 9] = [
    b"_load",
    b"_compile",
    b"runMain",
    b"runInThisContext",
    b"runInNewContext",
    b"runInContext",
    b"compileFunction",
    b"SourceTextModule",
    b"dlopen",
];
/// Objects through which a loader is reached by a name that is put together.
const GLOBALS: [&[u8]; 4] = [b"globalThis", b"global", b"module", b"Reflect"];
/// Words after which a slash begins a regular expression.
const BEFORE_VALUE: [&[u8]; 9] = [
    b"return", b"typeof", b"case", b"in", b"of", b"delete", b"void", b"do", b"else",
];
/// How far the names of an `import` statement may reach.
const CLAUSE_MAX: usize = 1_024;

pub(super) fn scan(code: &[u8], depth: usize, scan: &mut Scan) {
    let tokens = tokens(code);
    scan.is_dynamic |= tokens.is_odd;
    for at in 0..tokens.all.len() {
        match tokens.word(at) {
            Some(word) => Word {
                tokens: &tokens,
                at,
                depth,
                scan,
            }
            .look(word),
            None => {
                // `x["constructor"](...)`
                let text = Some(&Token::Text(Some(b"constructor".to_vec())));
                scan.is_dynamic |= tokens.is_sign(at, b'[') && tokens.get(at + 1) == text;
            }
        }
    }
}

/// A word and what stands around it.
struct Word<'t, 'a> {
    tokens: &'t Tokens<'a>,
    at: usize,
    depth: usize,
    scan: &'t mut Scan,
}

// === impl Word ===

impl Word<'_, '_> {
    fn look(&mut self, word: &[u8]) {
        let (tokens, at) = (self.tokens, self.at);
        let next = |sign| tokens.is_sign(at + 1, sign);
        match word {
            b"require" => self.require(),
            b"import" if tokens.is_member(at) => {}
            b"import" if next(b'(') => self.call(at + 1),
            // `import.meta`
            b"import" if next(b'.') => {}
            b"import" => self.import(),
            b"from" if !tokens.is_member(at) => {
                if let Some(Token::Text(value)) = tokens.get(at + 1) {
                    self.module(value.clone());
                }
            }
            b"Worker" | b"SharedWorker" if next(b'(') => self.worker(at + 1),
            // `new (require("worker_threads").Worker)("x")`
            b"Worker" if tokens.is_member(at) && next(b')') => self.worker(at + 2),
            b"Worker" if tokens.is_member(at) => self.scan.is_dynamic = true,
            b"createRequire" if next(b'(') => self.made_require(),
            b"eval" | b"Function" => self.code(word),
            b"constructor" => self.scan.is_dynamic |= next(b'('),
            // `process.mainModule.require` is one that is called `require`.
            b"binding" | b"_linkedBinding" if tokens.is_member(at) => self.scan.is_dynamic = true,
            word if GLOBALS.contains(&word) && !tokens.is_member(at) => {
                let is_named = next(b'.') || next(b'?') && tokens.is_sign(at + 2, b'.');
                // `require.main === module` is the only other use it has.
                let is_compared = at > 0 && tokens.is_sign(at - 1, b'=');
                self.scan.is_dynamic |= !is_named && !is_compared;
            }
            word if LOADS_ANYTHING.contains(&word) => self.scan.is_dynamic |= next(b'('),
            _ => {}
        }
    }

    fn module(&mut self, value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.scan.add(Load::Module(value)),
            None => self.scan.is_dynamic = true,
        }
    }

    /// A call that loads its first argument, by its bracket.
    fn call(&mut self, bracket: usize) {
        let argument = self.tokens.literal_argument(bracket);
        self.module(argument.map(<[u8]>::to_vec));
    }

    fn require(&mut self) {
        let (tokens, at) = (self.tokens, self.at);
        let next = |offset, sign| tokens.is_sign(at + offset, sign);
        let is_asked_for = at > 0 && tokens.word(at - 1) == Some(b"typeof");
        let harmless = [&b"resolve"[..], b"main", b"cache", b"extensions"];
        if next(1, b'(') {
            self.call(at + 1);
        } else if next(1, b'?') && next(2, b'.') && next(3, b'(') {
            self.call(at + 3);
        } else if next(1, b'.') {
            let member = tokens.word(at + 2);
            self.scan.is_dynamic |= !member.is_some_and(|member| harmless.contains(&member));
        } else {
            self.scan.is_dynamic |= !is_asked_for;
        }
    }

    /// `import "x"`; that with names has a `from`.
    fn import(&mut self) {
        if let Some(Token::Text(value)) = self.tokens.get(self.at + 1) {
            self.module(value.clone());
            return;
        }
        let clause = self.tokens.all.iter().skip(self.at + 1).take(CLAUSE_MAX);
        let mut has_from = false;
        for token in clause {
            match token {
                Token::Word(b"from") => has_from = true,
                Token::Text(_) if has_from => return,
                Token::Sign(b';' | b'(' | b')') => break,
                _ => has_from = false,
            }
        }
        // `import defer`, `import source`, or nothing that is known.
        self.scan.is_dynamic = true;
    }

    fn worker(&mut self, bracket: usize) {
        let word = |offset| self.tokens.word(bracket + offset);
        let is_url = word(1) == Some(b"new") && word(2) == Some(b"URL");
        self.call(if is_url { bracket + 3 } else { bracket });
    }

    fn made_require(&mut self) {
        let call = self.tokens.closing(self.at + 1).map(|closed| closed + 1);
        match call.filter(|call| self.tokens.is_sign(*call, b'(')) {
            Some(call) => self.call(call),
            None => self.scan.is_dynamic = true,
        }
    }

    fn code(&mut self, word: &[u8]) {
        let (tokens, at) = (self.tokens, self.at);
        let globals = [&b"globalThis"[..], b"global", b"self", b"window"];
        let is_own = tokens.is_member(at)
            && !tokens
                .owner(at)
                .is_some_and(|owner| globals.contains(&owner));
        if is_own {
            return;
        }
        let argument = tokens.literal_argument(at + 1);
        match argument.filter(|_| tokens.is_sign(at + 3, b')')) {
            Some(code) => super::within(Language::JavaScript, code, self.depth, self.scan),
            // `typeof eval`, `x instanceof Function`
            None => {
                let before = at.checked_sub(1).and_then(|at| tokens.word(at));
                let is_asked_for = matches!(before, Some(b"typeof" | b"instanceof"));
                let is_made = word == b"Function" && tokens.is_sign(at + 1, b'.');
                self.scan.is_dynamic |= !is_asked_for && !is_made;
            }
        }
    }
}

fn tokens(code: &[u8]) -> Tokens<'_> {
    let mut tokens = Tokens::default();
    // Open braces at the place of each template that is interrupted by an expression.
    let mut templates: Vec<usize> = Vec::new();
    let mut braces = 0_usize;
    let mut at = if code.starts_with(b"#!") {
        line_end(code, 0)
    } else {
        0
    };
    while let Some(byte) = code.get(at) {
        match byte {
            byte if byte.is_ascii_whitespace() => at += 1,
            b'/' if code.get(at + 1) == Some(&b'/') => at = line_end(code, at),
            b'/' if code.get(at + 1) == Some(&b'*') => {
                let rest = code.get(at + 2..).unwrap_or_default();
                let end = memchr::memmem::find(rest, b"*/");
                at = end.map_or(code.len(), |end| at + 2 + end + 2);
            }
            b'/' if begins_value(&tokens) => {
                at = regular_expression(code, at);
                tokens.push(Token::Other);
            }
            b'\'' | b'"' => {
                let (value, end) = string(code, at);
                tokens.push(Token::Text(value));
                at = end;
            }
            b'`' => at = template(code, at + 1, &mut tokens, &mut templates, braces),
            b'}' if templates.last() == Some(&braces) => {
                templates.pop();
                at = template(code, at + 1, &mut tokens, &mut templates, braces);
            }
            byte if byte.is_ascii_digit() => {
                at = word_end(code, at);
                tokens.push(Token::Other);
            }
            byte if is_word(*byte) => {
                let end = word_end(code, at);
                tokens.push(Token::Word(&code[at..end]));
                at = end;
            }
            byte => {
                // A name with an escape in it.
                tokens.is_odd |= *byte == b'\\';
                match byte {
                    b'{' => braces += 1,
                    b'}' => braces = braces.saturating_sub(1),
                    _ => {}
                }
                tokens.push(Token::Sign(*byte));
                at += 1;
            }
        }
    }
    tokens
}

/// Whether what follows is a value, so that a slash begins a regular expression.
fn begins_value(tokens: &Tokens<'_>) -> bool {
    match tokens.all.last() {
        None => true,
        Some(Token::Word(word)) => BEFORE_VALUE.contains(word),
        Some(Token::Sign(sign)) => !matches!(sign, b')' | b']' | b'}'),
        Some(Token::Text(_) | Token::Other | Token::End) => false,
    }
}

/// The end of the regular expression at `at`; of the slash alone when it is none.
fn regular_expression(code: &[u8], at: usize) -> usize {
    let mut in_class = false;
    let mut end = at + 1;
    while let Some(byte) = code.get(end) {
        match byte {
            b'\n' => return at + 1,
            b'\\' if code.get(end + 1) != Some(&b'\n') => end += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'/' if !in_class => return word_end(code, end + 1),
            _ => {}
        }
        end += 1;
    }
    at + 1
}

/// The value of the string at `at`, and its end.
fn string(code: &[u8], at: usize) -> (Option<Vec<u8>>, usize) {
    let quote = code[at];
    let mut value = Vec::new();
    let mut end = at + 1;
    while let Some(byte) = code.get(end) {
        match byte {
            b'\\' => end = escape(code, end, &mut value),
            b'\n' => return (None, end),
            byte if *byte == quote => return (Some(value), end + 1),
            byte => {
                value.push(*byte);
                end += 1;
            }
        }
    }
    (None, code.len())
}

/// The part of a template from `at` on, up to its end or its next expression; gives where that begins.
fn template<'a>(
    code: &'a [u8],
    at: usize,
    tokens: &mut Tokens<'a>,
    templates: &mut Vec<usize>,
    braces: usize,
) -> usize {
    let mut value = Vec::new();
    let mut end = at;
    // One that was interrupted has a value that is not known.
    let is_first = code.get(at.wrapping_sub(1)) == Some(&b'`');
    while let Some(byte) = code.get(end) {
        match byte {
            b'\\' => end = escape(code, end, &mut value),
            b'`' => {
                tokens.push(Token::Text(is_first.then_some(value)));
                return end + 1;
            }
            b'$' if code.get(end + 1) == Some(&b'{') => {
                tokens.push(Token::Text(None));
                tokens.push(Token::Sign(b'+'));
                templates.push(braces);
                return end + 2;
            }
            byte => {
                value.push(*byte);
                end += 1;
            }
        }
    }
    tokens.is_odd = true;
    code.len()
}

/// Appends what the escape at `at` stands for; gives its end.
fn escape(code: &[u8], at: usize, value: &mut Vec<u8>) -> usize {
    let Some(byte) = code.get(at + 1) else {
        return code.len();
    };
    let simple = |byte: u8| match byte {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'v' => 11,
        b'f' => 12,
        b'0' => 0,
        byte => byte,
    };
    match byte {
        b'x' => {
            push_character(value, hexadecimal(code, at + 2, 2).unwrap_or(u32::MAX));
            at + 4
        }
        b'u' if code.get(at + 2) == Some(&b'{') => {
            let rest = code.get(at + 3..).unwrap_or_default();
            let digits = memchr::memchr(b'}', rest).unwrap_or(rest.len());
            push_character(value, hexadecimal(code, at + 3, digits).unwrap_or(u32::MAX));
            at + 3 + digits + 1
        }
        b'u' => {
            push_character(value, hexadecimal(code, at + 2, 4).unwrap_or(u32::MAX));
            at + 6
        }
        b'\n' => at + 2,
        byte => {
            value.push(simple(*byte));
            at + 2
        }
    }
}
