//! Python: `import`, the functions of `runpy` and `importlib`, `exec` of a file; and what makes code while it
//! runs.

use skep_catalogue::Language;

use super::{
    Load, Scan,
    token::{Token, Tokens, hexadecimal, is_word, line_end, push_character, word_end},
};

/// Modules whose functions load what their arguments say.
const LOADERS: [&[u8]; 6] = [
    b"runpy",
    b"importlib",
    b"importlib.util",
    b"importlib.machinery",
    b"imp",
    b"zipimport",
];
/// Nested brackets in which a line's end ends nothing.
const NAMES_MAX: usize = 64;

pub(super) fn scan(code: &[u8], depth: usize, scan: &mut Scan) {
    let tokens = tokens(code);
    scan.is_dynamic |= tokens.is_odd;
    let mut code = Code {
        tokens: &tokens,
        depth,
        scan,
        has_loader: false,
        loads: false,
    };
    for at in 0..tokens.all.len() {
        if let Some(word) = tokens.word(at) {
            code.word(at, word);
        }
    }
    // A loader that is got at in a way that was not understood.
    let is_odd = code.has_loader && !code.loads;
    scan.is_dynamic |= is_odd;
}

struct Code<'t, 'a> {
    tokens: &'t Tokens<'a>,
    depth: usize,
    scan: &'t mut Scan,
    /// A module of [`LOADERS`] is imported.
    has_loader: bool,
    /// A call of a loader was understood.
    loads: bool,
}

// === impl Code ===

impl Code<'_, '_> {
    fn word(&mut self, at: usize, word: &[u8]) {
        let tokens = self.tokens;
        let begins = match at.checked_sub(1).map(|before| tokens.get(before)) {
            None => true,
            Some(before) => matches!(before, Some(Token::End | Token::Sign(b';' | b':'))),
        };
        let is_called = tokens.is_sign(at + 1, b'(');
        let is_builtin = !tokens.is_member(at)
            || matches!(tokens.owner(at), Some(b"builtins" | b"__builtins__"));
        match word {
            b"import" if begins => self.import(at + 1),
            b"from" if begins => self.import_from(at + 1),
            b"run_module" | b"_run_module_as_main" if is_called => self.call(at + 1, Load::Run),
            b"import_module" | b"__import__" if is_called => self.call(at + 1, Load::Import),
            b"run_path" | b"execfile" if is_called => self.call(at + 1, Load::File),
            b"spec_from_file_location" | b"SourceFileLoader" | b"load_source" if is_called => {
                self.second_argument(at + 1);
            }
            b"find_spec" => self.loads = true,
            b"__import__" => self.scan.is_dynamic = true,
            b"exec" | b"eval" if is_builtin => self.code(at, is_called),
            b"compile" if is_builtin && is_called => self.code(at, true),
            b"__builtins__" | b"builtins" if !begins && !tokens.is_sign(at + 1, b'.') => {
                // `import builtins` alone does nothing.
                let is_imported = at > 0 && tokens.word(at - 1) == Some(b"import");
                self.scan.is_dynamic |= !is_imported;
            }
            b"interact" => self.scan.is_dynamic |= is_called,
            _ => {}
        }
    }

    fn call(&mut self, bracket: usize, load: fn(Vec<u8>) -> Load) {
        self.loads = true;
        match self.tokens.literal_argument(bracket) {
            Some(argument) => self.scan.add(load(argument.to_vec())),
            None => self.scan.is_dynamic = true,
        }
    }

    /// `spec_from_file_location("name", "/a/file.py")`
    fn second_argument(&mut self, bracket: usize) {
        self.loads = true;
        let is_second = self.tokens.is_sign(bracket + 2, b',');
        match self.tokens.get(bracket + 3) {
            Some(Token::Text(Some(path))) if is_second => self.scan.add(Load::File(path.clone())),
            _ => self.scan.is_dynamic = true,
        }
    }

    /// `exec("…")`, `exec(open("file").read())`, `exec(compile(…))`, `exec(Path("file").read_text())`
    fn code(&mut self, at: usize, is_called: bool) {
        let tokens = self.tokens;
        if !is_called {
            self.scan.is_dynamic = true;
        } else if let Some(code) = tokens.literal_argument(at + 1) {
            let code = code.to_vec();
            super::within(Language::Python, &code, self.depth, self.scan);
        } else {
            match tokens.word(at + 2) {
                Some(b"compile") if tokens.is_sign(at + 3, b'(') => {}
                Some(b"open" | b"Path") => self.file(at + 3),
                Some(b"pathlib" | b"io") if tokens.is_sign(at + 3, b'.') => self.file(at + 5),
                _ => self.scan.is_dynamic = true,
            }
        }
    }

    fn file(&mut self, bracket: usize) {
        match self.tokens.literal_argument(bracket) {
            Some(path) => self.scan.add(Load::File(path.to_vec())),
            None => self.scan.is_dynamic = true,
        }
    }

    /// `import a.b as c, d`
    fn import(&mut self, mut at: usize) {
        for _ in 0..NAMES_MAX {
            let (name, end) = self.dotted(at);
            if name.is_empty() {
                return;
            }
            self.imported(name);
            at = end;
            if self.tokens.word(at) == Some(b"as") {
                at += 2;
            }
            if !self.tokens.is_sign(at, b',') {
                return;
            }
            at += 1;
        }
        self.scan.is_dynamic = true;
    }

    /// `from a.b import c as d, (e)`
    fn import_from(&mut self, at: usize) {
        let (base, at) = self.dotted(at);
        if base.is_empty() || self.tokens.word(at) != Some(b"import") {
            return;
        }
        let is_loader = LOADERS.contains(&base.as_slice());
        self.imported(base.clone());
        let mut at = at + 1 + usize::from(self.tokens.is_sign(at + 1, b'('));
        for _ in 0..NAMES_MAX {
            while self.tokens.get(at) == Some(&Token::End) {
                at += 1;
            }
            let Some(name) = self.tokens.word(at) else {
                return;
            };
            let whole = [base.as_slice(), b".", name].concat();
            // `from importlib import metadata` gets at no loader.
            if is_loader && matches!(name, b"metadata" | b"resources") {
                self.has_loader = false;
            }
            self.imported(whole);
            at += 1;
            if self.tokens.word(at) == Some(b"as") {
                at += 2;
            }
            if !self.tokens.is_sign(at, b',') {
                return;
            }
            at += 1;
        }
        self.scan.is_dynamic = true;
    }

    fn imported(&mut self, name: Vec<u8>) {
        self.has_loader |= LOADERS.contains(&name.as_slice());
        self.scan.add(Load::Import(name));
    }

    /// A dotted name and where it ends.
    fn dotted(&self, mut at: usize) -> (Vec<u8>, usize) {
        let mut name = Vec::new();
        while let Some(word) = self.tokens.word(at) {
            name.extend_from_slice(word);
            at += 1;
            if !self.tokens.is_sign(at, b'.') {
                break;
            }
            name.push(b'.');
            at += 1;
        }
        (name, at)
    }
}

fn tokens(code: &[u8]) -> Tokens<'_> {
    let mut tokens = Tokens::default();
    let mut brackets = 0_usize;
    let mut at = 0;
    while let Some(byte) = code.get(at) {
        match byte {
            b'\n' => {
                if brackets == 0 {
                    tokens.push(Token::End);
                }
                at += 1;
            }
            b'\\' if code.get(at + 1) == Some(&b'\n') => at += 2,
            byte if byte.is_ascii_whitespace() => at += 1,
            b'#' => at = line_end(code, at),
            b'\'' | b'"' => at = text(code, at, b"", &mut tokens),
            byte if byte.is_ascii_digit() => {
                at = word_end(code, at);
                tokens.push(Token::Other);
            }
            byte if is_word(*byte) => {
                let end = word_end(code, at);
                let word = &code[at..end];
                let is_prefix = word.len() <= 2
                    && word.iter().all(|byte| b"rRbBuUfF".contains(byte))
                    && matches!(code.get(end), Some(b'\'' | b'"'));
                if is_prefix {
                    at = text(code, end, word, &mut tokens);
                } else {
                    tokens.push(Token::Word(word));
                    at = end;
                }
            }
            byte => {
                match byte {
                    b'(' | b'[' | b'{' => brackets += 1,
                    b')' | b']' | b'}' => brackets = brackets.saturating_sub(1),
                    _ => {}
                }
                tokens.push(Token::Sign(*byte));
                at += 1;
            }
        }
    }
    tokens
}

/// Takes the string whose quote is at `at` and that has this prefix; gives its end. Strings that stand side by
/// side are one.
fn text(code: &[u8], at: usize, prefix: &[u8], tokens: &mut Tokens<'_>) -> usize {
    let has = |letter: u8| {
        prefix
            .iter()
            .any(|byte| byte.to_ascii_lowercase() == letter)
    };
    let quote = code[at];
    let triple = [quote; 3];
    let is_triple = code.get(at..).is_some_and(|rest| rest.starts_with(&triple));
    let ending: &[u8] = if is_triple { &triple } else { &triple[..1] };
    let mut value = Vec::new();
    let mut end = at + ending.len();
    let is_closed = loop {
        let Some(byte) = code.get(end) else {
            break false;
        };
        if code[end..].starts_with(ending) {
            end += ending.len();
            break true;
        }
        match byte {
            b'\n' if !is_triple => break false,
            b'\\' if has(b'r') => {
                value.push(b'\\');
                value.extend(code.get(end + 1));
                end += 2;
            }
            b'\\' => end = escape(code, end, &mut value),
            // What an expression in it gives is not known.
            byte => {
                value.push(*byte);
                end += 1;
            }
        }
    };
    let is_known = is_closed && !(has(b'f') && value.contains(&b'{'));
    let value = is_known.then_some(value);
    if let Some(Token::Text(before)) = tokens.all.last_mut() {
        *before = match (before.take(), value) {
            (Some(mut before), Some(value)) => {
                before.extend(value);
                Some(before)
            }
            _ => None,
        };
    } else {
        tokens.push(Token::Text(value));
    }
    end.min(code.len())
}

/// Appends what the escape at `at` stands for; gives its end.
fn escape(code: &[u8], at: usize, value: &mut Vec<u8>) -> usize {
    let numbered = |value: &mut Vec<u8>, digits: usize| {
        push_character(value, hexadecimal(code, at + 2, digits).unwrap_or(u32::MAX));
        at + 2 + digits
    };
    match code.get(at + 1) {
        None => code.len(),
        Some(b'x') => numbered(value, 2),
        Some(b'u') => numbered(value, 4),
        Some(b'U') => numbered(value, 8),
        Some(b'\n') => at + 2,
        Some(b'0'..=b'7') => {
            let rest = &code[at + 1..];
            let digits = rest
                .iter()
                .take(3)
                .take_while(|byte| matches!(byte, b'0'..=b'7'));
            let number = digits
                .clone()
                .fold(0, |number, byte| number * 8 + u32::from(byte - b'0'));
            push_character(value, number);
            at + 1 + digits.count()
        }
        Some(byte) => {
            let simple = match byte {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'a' => 7,
                b'b' => 8,
                b'f' => 12,
                b'v' => 11,
                b'\\' | b'\'' | b'"' => *byte,
                _ => {
                    value.push(b'\\');
                    *byte
                }
            };
            value.push(simple);
            at + 2
        }
    }
}
