use proptest::prelude::*;

use super::*;

/// What code loads, as words; the last is `dynamic` when that may not be all.
fn loads(language: Language, code: &str) -> Vec<String> {
    let Scan { loads, is_dynamic } = scan(language, code.as_bytes());
    let shown = loads.iter().map(|load| {
        let (kind, name) = match load {
            Load::Module(name) => ("", name),
            Load::File(name) => ("file ", name),
            Load::Import(name) => ("", name),
            Load::Run(name) => ("run ", name),
        };
        format!("{kind}{}", String::from_utf8_lossy(name))
    });
    shown
        .chain(is_dynamic.then(|| "dynamic".to_owned()))
        .collect()
}

fn js(code: &str) -> Vec<String> {
    loads(Language::JavaScript, code)
}

fn py(code: &str) -> Vec<String> {
    loads(Language::Python, code)
}

#[test]
fn javascript_loads_what_stands_there_as_a_literal() {
    for (code, wanted) in [
        ("require('/x/cli.js')", &["/x/cli.js"][..]),
        ("require ( \"a\" , 1)", &["a"]),
        ("import('/x/cli.js')", &["/x/cli.js"]),
        ("await import(`file:///x`)", &["file:///x"]),
        (
            "import 'npm:@google/gemini-cli'",
            &["npm:@google/gemini-cli"],
        ),
        (
            "import x, { y as z } from 'a'; export * from \"b\"",
            &["a", "b"],
        ),
        ("import * as x from 'a'\nimport'b'", &["a", "b"]),
        ("require('\\x2fx\\u002fcli.js')", &["/x/cli.js"]),
        ("require('/x/cl\\\ni.js')", &["/x/cli.js"]),
        ("require?.('a')", &["a"]),
        ("module.require('a')", &["a"]),
        ("process.mainModule.require('a')", &["a"]),
        (
            "new Worker('/x.js'); new Worker(new URL('y.js', import.meta.url))",
            &["/x.js", "y.js"],
        ),
        (
            "new (require('worker_threads').Worker)('/x.js')",
            &["worker_threads", "/x.js"],
        ),
        (
            "const {createRequire}=require('module'); createRequire('/x/')('y')",
            &["module", "y"],
        ),
        (
            "eval('require(\"a\")'); new Function('return import(\"b\")')()",
            &["a", "b"],
        ),
        ("`${require('a')} ${`${require('b')}`}`", &["a", "b"]),
        ("x = a / b; require('c') / 2", &["c"]),
    ] {
        assert_eq!(js(code), wanted, "{code}");
    }
}

#[test]
fn javascript_that_loads_nothing_loads_nothing() {
    for code in [
        "0",
        "console.log('gemini')",
        "console.log(\"require('/x/cli.js')\") // require('y')",
        "/* import('x') */ /require('x')/.test(y)",
        "typeof require === 'function'; x instanceof Function; Function.prototype",
        "page.eval('x'); db.import('y'); import.meta.url; require.resolve('x')",
        "if (require.main === module) {}",
        "globalThis.x = module.exports; process.argv[1]",
    ] {
        assert_eq!(js(code), [""; 0], "{code}");
    }
}

#[test]
fn javascript_that_makes_names_or_code_is_dynamic() {
    for code in [
        "require('/x/' + 'cli.js')",
        "require(process.argv[1])",
        "require(`/x/${y}`)",
        "const r = require; r('x')",
        "eval(x)",
        "(0, eval)('x')",
        "new Function(x)()",
        "import(x)",
        "globalThis['req' + 'uire']",
        "module['require']",
        "\\u0072equire('x')",
        "x.constructor('return 1')()",
        "[]['constructor']",
        "vm.runInThisContext(x)",
        "Module._load(x)",
        "new Worker(x, { eval: true })",
        "process.binding('x')",
        "require('x",
    ] {
        assert!(
            scan(Language::JavaScript, code.as_bytes()).is_dynamic,
            "{code}"
        );
    }
}

#[test]
fn python_loads_what_stands_there_as_a_literal() {
    for (code, wanted) in [
        ("import aider", &["aider"][..]),
        (
            "import sys, aider.main as m; m.main()",
            &["sys", "aider.main"],
        ),
        (
            "from aider.main import main; main()",
            &["aider.main", "aider.main.main"],
        ),
        (
            "from aider import (\n  main,\n  x as y)\n",
            &["aider", "aider.main", "aider.x"],
        ),
        ("if 1: import a", &["a"]),
        (
            "import runpy; runpy.run_module(\"aider\", run_name='x')",
            &["runpy", "run aider"],
        ),
        (
            "import runpy\nrunpy.run_path(r'/x/a.py')",
            &["runpy", "file /x/a.py"],
        ),
        ("__import__('aider.main').main.main()", &["aider.main"]),
        ("exec(open('/x/a.py').read())", &["file /x/a.py"]),
        (
            "exec(compile(open('/x/a.py').read(), 'a', 'exec'))",
            &["file /x/a.py"],
        ),
        ("exec(\"import \" 'aider')", &["aider"]),
        (
            "exec('''\nfrom aider.main import main\n''')",
            &["aider.main", "aider.main.main"],
        ),
        (
            "import importlib; importlib.import_module('aid' 'er')",
            &["importlib", "aider"],
        ),
        (
            "from pathlib import Path\nexec(Path('/a').read_text())",
            &["pathlib", "pathlib.Path", "file /a"],
        ),
    ] {
        assert_eq!(py(code), wanted, "{code}");
    }
}

#[test]
fn python_that_loads_nothing_loads_nothing() {
    for code in [
        "print('aider')",
        "print(\"from aider.main import main\") # import aider",
        "'''\nimport aider\n'''",
        "re.compile('x'); cursor.exec('y'); ast.literal_eval(z)",
        "x = {'import': 1}",
    ] {
        assert_eq!(py(code), [""; 0], "{code}");
    }
    let version = "import importlib.metadata as m; print(m.version('aider-chat'))";
    assert_eq!(py(version), ["importlib.metadata"]);
    assert_eq!(
        py("from importlib import metadata"),
        ["importlib", "importlib.metadata"]
    );
}

#[test]
fn python_that_makes_names_or_code_is_dynamic() {
    for code in [
        "import sys; exec(sys.stdin.read())",
        "exec(x)",
        "f = exec; f('import aider')",
        "__import__(x)",
        "import runpy; getattr(runpy, 'run_' + 'module')('aider')",
        "import importlib; importlib.import_module(x)",
        "exec(f'import {x}')",
        "builtins.exec(x)",
        "g = __import__",
        "exec(open(x).read())",
    ] {
        assert!(scan(Language::Python, code.as_bytes()).is_dynamic, "{code}");
    }
}

#[test]
fn code_within_code_and_loads_are_bounded() {
    let mut nested = "require('x')".to_owned();
    for _ in 0..=DEPTH_MAX {
        nested = format!("eval({nested:?})");
    }
    assert_eq!(js(&nested), ["dynamic"]);
    let many: String = (0..=LOADS_MAX)
        .map(|n| format!("require('{n}');"))
        .collect();
    let many = scan(Language::JavaScript, many.as_bytes());
    assert_eq!((many.loads.len(), many.is_dynamic), (LOADS_MAX, true));
    assert!(scan(Language::Python, &vec![b' '; BYTES_MAX + 1]).is_dynamic);
    assert!(scan(Language::JavaScript, "x;".repeat(TOKENS_MAX).as_bytes()).is_dynamic);
}

proptest! {
    #[test]
    fn any_bytes_are_scanned_without_panic(code in prop::collection::vec(any::<u8>(), 0..200)) {
        for language in [Language::JavaScript, Language::Python] {
            scan(language, &code);
        }
    }

    #[test]
    fn any_pieces_of_code_are_scanned_without_panic(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "require", "import", "from", "(", ")", "'", "\"", "`", "${", "}", "\\", "\\u{", "\\x", "/", "*",
            "\n", ".", ",", "exec", "open", "compile", "'''", "f'", "r'", "eval", "Worker", "new", "x", ":",
            "createRequire", "[", "]", "#", "as",
        ]), 0..60)
    ) {
        let code = pieces.concat();
        for language in [Language::JavaScript, Language::Python] {
            scan(language, code.as_bytes());
        }
    }
}
