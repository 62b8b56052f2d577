//! The rules of redaction: one table that the redactor works from, `explain` prints and tests iterate
//! over.
//!
//! Examples are made up and put together from pieces, so that no scanner takes them for leaked keys.

/// How the secret of a rule is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finder {
    /// By its own shape, anywhere in any text. `triggers` (lower case): one must occur, letter case
    /// ignored, before `pattern` is tried. The group `s`, else the whole match, is the secret.
    Shape {
        triggers: &'static [&'static str],
        pattern: &'static str,
    },
    /// `scheme://user:password@host`
    UrlUserinfo,
    /// `?name=value` in a URL, by name.
    UrlParameter,
    /// `Name: value`, by name.
    Header,
    /// `--name value`, `--name=value`, `NAME=value`, `"name": "value"`, by name.
    Named,
    /// Flags of particular programs ([`PROGRAMS`]).
    Program,
}

/// One kind of secret.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What stands in its place: `[redacted:KIND]` (for [`Finder::UrlUserinfo`]: `***`).
    pub kind: &'static str,
    pub finder: Finder,
    pub description: &'static str,
    /// Arguments with such a secret.
    pub example: &'static [&'static str],
    /// What must not be left of them.
    pub secret: &'static str,
}

/// Before a shape: no letter or digit, or a percent-encoded byte.
macro_rules! shape {
    ($pattern:literal) => {
        concat!(r"(?-u)(?:\b|_|%[0-9A-Fa-f]{2})(?P<s>", $pattern, ")")
    };
}

pub const URL_USERINFO: &str = "url-userinfo";
pub const URL_PARAMETER: &str = "url-parameter";
pub const AUTHORIZATION: &str = "authorization";
pub const CREDENTIAL: &str = "credential";
pub const PASSWORD: &str = "password";
pub const PRIVATE_KEY: &str = "private-key";

/// Every rule, the most specific first: where two cover the same text, the first names it.
pub static RULES: &[Rule] = &[
    Rule {
        kind: PRIVATE_KEY,
        finder: Finder::Shape {
            triggers: &["-----begin"],
            pattern: r"(?s-u)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)",
        },
        description: "private keys in PEM (RSA, EC, OpenSSH, PGP; service accounts of Google Cloud)",
        example: &[
            "add-key",
            concat!(
                "-----BEGIN RSA ",
                "PRIVATE KEY-----\nMIIBOgIBAAJB\n-----END RSA ",
                "PRIVATE KEY-----"
            ),
        ],
        secret: "MIIBOgIBAAJB",
    },
    Rule {
        kind: "anthropic-key",
        finder: Finder::Shape {
            triggers: &["sk-ant-"],
            pattern: shape!("sk-ant-[A-Za-z0-9_-]{16,}"),
        },
        description: "API keys of Anthropic (`sk-ant-…`)",
        example: &["run", concat!("sk-", "ant-api03-Zm9vYmFyYmF6cXV4AAAA")],
        secret: "Zm9vYmFyYmF6cXV4AAAA",
    },
    Rule {
        kind: "openai-key",
        finder: Finder::Shape {
            triggers: &["sk-"],
            pattern: shape!(
                "sk-(?:(?:proj|svcacct|admin|None|or-v1|lf)-[A-Za-z0-9_-]{16,}|[A-Za-z0-9]{20,})"
            ),
        },
        description: "API keys of OpenAI and of those who copy its shape (`sk-…`, `sk-proj-…`)",
        example: &["run", concat!("sk-", "proj-Zm9vYmFy_YmF6cXV4-AAAA")],
        secret: "Zm9vYmFy_YmF6cXV4-AAAA",
    },
    Rule {
        kind: "google-api-key",
        finder: Finder::Shape {
            triggers: &["aiza"],
            pattern: shape!("AIza[A-Za-z0-9_-]{30,}"),
        },
        description: "API keys of Google (`AIza…`)",
        example: &[
            "run",
            concat!("AI", "zaZm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9"),
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9",
    },
    Rule {
        kind: "google-oauth",
        finder: Finder::Shape {
            triggers: &["ya29.", "gocspx-", "1//0"],
            pattern: shape!(
                r"ya29\.[A-Za-z0-9_.-]{16,}|GOCSPX-[A-Za-z0-9_-]{16,}|1//0[A-Za-z0-9_-]{20,}"
            ),
        },
        description: "OAuth tokens and client secrets of Google (`ya29.…`, `GOCSPX-…`, `1//0…`)",
        example: &["run", concat!("ya", "29.a0Zm9vYmFyYmF6cXV4")],
        secret: "a0Zm9vYmFyYmF6cXV4",
    },
    Rule {
        kind: "aws-access-key",
        finder: Finder::Shape {
            triggers: &["akia", "asia", "abia", "acca"],
            pattern: shape!("(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
        },
        description: "access key ids of AWS (`AKIA…`, `ASIA…`); the secret goes by its name",
        example: &["run", concat!("AKIA", "IOSFODNN7EXAMPLE")],
        secret: "IOSFODNN7EXAMPLE",
    },
    Rule {
        kind: "github-token",
        finder: Finder::Shape {
            triggers: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
            pattern: shape!("gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"),
        },
        description: "tokens of GitHub (`ghp_…`, `gho_…`, `ghu_…`, `ghs_…`, `ghr_…`, `github_pat_…`)",
        example: &[
            "run",
            concat!("gh", "p_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v"),
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v",
    },
    Rule {
        kind: "gitlab-token",
        finder: Finder::Shape {
            triggers: &[
                "glpat-", "glptt-", "gldt-", "glrt-", "glcbt-", "glft-", "glsoat-", "glagent-",
                "gloas-",
            ],
            pattern: shape!("gl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|oas)-[A-Za-z0-9_.-]{16,}"),
        },
        description: "tokens of GitLab (`glpat-…` and its siblings)",
        example: &["run", concat!("gl", "pat-Zm9vYmFyYmF6cXV4Zm9v")],
        secret: "Zm9vYmFyYmF6cXV4Zm9v",
    },
    Rule {
        kind: "slack-token",
        finder: Finder::Shape {
            triggers: &["xox", "xapp-", "hooks.slack.com"],
            pattern: shape!(
                r"xox[abceoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{10,}"
            ),
        },
        description: "tokens and webhook addresses of Slack (`xoxb-…`, `xapp-…`)",
        example: &["run", concat!("xo", "xb-1234567890-Zm9vYmFyYmF6")],
        secret: "1234567890-Zm9vYmFyYmF6",
    },
    Rule {
        kind: "stripe-key",
        finder: Finder::Shape {
            triggers: &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"],
            pattern: shape!("[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}"),
        },
        description: "keys of Stripe (`sk_live_…`, `rk_live_…`, `whsec_…`)",
        example: &["run", concat!("sk", "_live_Zm9vYmFyYmF6cXV4")],
        secret: "Zm9vYmFyYmF6cXV4",
    },
    Rule {
        kind: "npm-token",
        finder: Finder::Shape {
            triggers: &["npm_"],
            pattern: shape!("npm_[A-Za-z0-9]{30,}"),
        },
        description: "tokens of npm (`npm_…`)",
        example: &[
            "run",
            concat!("np", "m_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v"),
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v",
    },
    Rule {
        kind: "pypi-token",
        finder: Finder::Shape {
            triggers: &["pypi-ag"],
            pattern: shape!("pypi-Ag[A-Za-z0-9_-]{16,}"),
        },
        description: "tokens of PyPI (`pypi-Ag…`)",
        example: &["run", concat!("py", "pi-AgEIcHlwaS5vcmcZm9vYmFyYmF6")],
        secret: "EIcHlwaS5vcmcZm9vYmFyYmF6",
    },
    Rule {
        kind: "huggingface-token",
        finder: Finder::Shape {
            triggers: &["hf_"],
            pattern: shape!("hf_[A-Za-z0-9]{20,}"),
        },
        description: "tokens of Hugging Face (`hf_…`)",
        example: &["run", concat!("h", "f_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4")],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4",
    },
    Rule {
        kind: "jwt",
        finder: Finder::Shape {
            triggers: &["eyj"],
            pattern: shape!(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*"),
        },
        description: "JSON Web Tokens (`eyJ….….…`)",
        example: &[
            "run",
            concat!("ey", "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.Zm9vYmFyYmF6"),
        ],
        secret: "Zm9vYmFyYmF6",
    },
    Rule {
        kind: "azure-key",
        finder: Finder::Shape {
            triggers: &["accountkey=", "sharedaccesskey=", "sharedaccesssignature="],
            pattern: r"(?i-u)(?:AccountKey|SharedAccessKey|SharedAccessSignature)=(?P<s>[^\s;'\x22]{10,})",
        },
        description: "keys in connection strings of Azure (`AccountKey=…`, `SharedAccessKey=…`)",
        example: &[
            "run",
            "AccountName=x;AccountKey=Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4==;EndpointSuffix=y",
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4==",
    },
    Rule {
        kind: "provider-token",
        finder: Finder::Shape {
            triggers: &[
                "gsk_",
                "xai-",
                "pplx-",
                "r8_",
                "dop_v1_",
                "doo_v1_",
                "sg.",
                "dapi",
                "hvs.",
                "hvb.",
                "lin_api_",
                "shpat_",
                "shpss_",
                "age-secret-key-1",
                "tskey-",
                "fly_",
                "nvapi-",
                "csk-",
                ":aa",
                "sntrys_",
                "dckr_pat_",
                "ops_ey",
                "figd_",
                "ntn_",
                "atatt3",
                "cio",
            ],
            pattern: shape!(
                r"(?:gsk_|r8_|shpat_|shpss_|lin_api_|ntn_)[A-Za-z0-9]{20,}|(?:xai-|pplx-|nvapi-|csk-|tskey-[a-z]+-)[A-Za-z0-9_-]{20,}|do[op]_v1_[a-f0-9]{32,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|dapi[a-f0-9]{32}|hv[sb]\.[A-Za-z0-9_-]{20,}|AGE-SECRET-KEY-1[A-Z0-9]{30,}|fly_[A-Za-z0-9_-]{20,}|[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}|sntrys_[A-Za-z0-9_=+/-]{20,}|dckr_pat_[A-Za-z0-9_-]{20,}|ops_ey[A-Za-z0-9_-]{20,}|figd_[A-Za-z0-9_-]{20,}|ATATT3[A-Za-z0-9_=-]{30,}|cio[A-Za-z0-9]{32}"
            ),
        },
        description: "tokens of other providers by their shape (Groq, xAI, Perplexity, NVIDIA, Replicate, \
                      SendGrid, Databricks, Vault, DigitalOcean, Docker, Telegram, Atlassian, crates.io, age …)",
        example: &["run", concat!("gs", "k_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4")],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4",
    },
    Rule {
        kind: "authorization",
        finder: Finder::Shape {
            triggers: &["bearer"],
            pattern: r"(?i-u)\bbearer[\s:=]+(?P<s>[A-Za-z0-9._~+/=-]*[0-9][A-Za-z0-9._~+/=-]*)",
        },
        description: "what follows `Bearer`, when there is a digit in it",
        example: &["run", "Bearer abcdefgh12345678"],
        secret: "abcdefgh12345678",
    },
    Rule {
        kind: AUTHORIZATION,
        finder: Finder::Header,
        description: "values of the headers Authorization, Cookie, X-Api-Key, Private-Token and others \
                      named like a key, token or secret",
        example: &[
            "curl",
            "-H",
            "Authorization: Basic dXNlcjpodW50ZXIy",
            "http://127.0.0.1/",
        ],
        secret: "dXNlcjpodW50ZXIy",
    },
    Rule {
        kind: URL_USERINFO,
        finder: Finder::UrlUserinfo,
        description: "user and password in a URL; replaced by `***`",
        example: &["git", "clone", "https://dev:hunter2@example.com/app.git"],
        secret: "hunter2",
    },
    Rule {
        kind: URL_PARAMETER,
        finder: Finder::UrlParameter,
        description: "URL parameters named like a token, key, secret, signature or password",
        example: &[
            "curl",
            "https://example.com/x?id=7&access_token=hunter2hunter2&page=2",
        ],
        secret: "hunter2hunter2",
    },
    Rule {
        kind: PASSWORD,
        finder: Finder::Named,
        description: "what is named a password: `--password X`, `--password=X`, `PGPASSWORD=X`, `\"password\": \"X\"`",
        example: &["connect", "--db-password", "hunter2"],
        secret: "hunter2",
    },
    Rule {
        kind: CREDENTIAL,
        finder: Finder::Named,
        description: "what is named a key, token, secret or credential and is long or random: \
                      `--token X`, `--api-key=X`, `AWS_SECRET_ACCESS_KEY=X`",
        example: &[
            "env",
            "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "deploy",
        ],
        secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    },
    Rule {
        kind: PASSWORD,
        finder: Finder::Program,
        description: "password flags of particular programs: `curl -u user:X`, `mysql -pX`, `sshpass -p X`, \
                      `redis-cli -a X`, `docker login -p X` …",
        example: &["bash", "-c", "mysql -uroot -phunter2 app"],
        secret: "hunter2",
    },
];

/// How a flag carries its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// `-pX` only (`-p` alone asks).
    Attached,
    /// `-p X` and `-pX`.
    Either,
    /// `-k X` only: the flag is the beginning of others.
    Next,
    /// `--flag X` and `--flag=X`.
    Long,
    /// `-u user:X`, `-uuser:X`, also at the end of a group (`-sSu user:X`).
    UserColon,
    /// `--user user:X` and `--user=user:X`.
    LongUserColon,
    /// `-U user%X`
    UserPercent,
    /// `-passin pass:X`
    PassColon,
    /// The word after `flag`, e.g. `vault login X`.
    Positional,
    /// `NAME=X` in the word after it: cookies, not the file they are kept in.
    Cookie,
}

/// A password flag of some programs.
#[derive(Clone, Copy, Debug)]
pub struct ProgramFlag {
    pub programs: &'static [&'static str],
    /// A word that must stand between program and flag.
    pub command: Option<&'static str>,
    pub flag: &'static str,
    pub carries: Carries,
}

const fn flag(
    programs: &'static [&'static str],
    flag: &'static str,
    carries: Carries,
) -> ProgramFlag {
    ProgramFlag {
        programs,
        command: None,
        flag,
        carries,
    }
}

const MYSQL: &[&str] = &[
    "mysql",
    "mysqldump",
    "mysqladmin",
    "mysqlimport",
    "mysqlshow",
    "mysqlsh",
    "mysqlcheck",
    "mycli",
    "mariadb",
    "mariadb-dump",
    "mariadb-admin",
    "mariadb-import",
    "mariadb-check",
];
const MONGO: &[&str] = &[
    "mongo",
    "mongosh",
    "mongodump",
    "mongorestore",
    "mongoexport",
    "mongoimport",
    "mongostat",
];
const REGISTRY: &[&str] = &[
    "docker", "podman", "buildah", "skopeo", "nerdctl", "helm", "oras", "crane", "az",
];
const LDAP: &[&str] = &[
    "ldapsearch",
    "ldapadd",
    "ldapmodify",
    "ldapdelete",
    "ldapwhoami",
    "ldappasswd",
];
const HTTPIE: &[&str] = &["http", "https", "httpie", "xh", "xhs"];
const SEVEN_ZIP: &[&str] = &["7z", "7za", "7zz", "7zr", "rar", "unrar"];

/// Password flags that only their program makes recognisable.
pub static PROGRAMS: &[ProgramFlag] = &[
    flag(MYSQL, "-p", Carries::Attached),
    flag(MONGO, "-p", Carries::Either),
    flag(&["sshpass"], "-p", Carries::Either),
    flag(&["redis-cli", "valkey-cli"], "-a", Carries::Either),
    flag(LDAP, "-w", Carries::Either),
    flag(SEVEN_ZIP, "-p", Carries::Attached),
    flag(SEVEN_ZIP, "-hp", Carries::Attached),
    flag(
        &["zip", "unzip", "sqlcmd", "bcp", "ipmitool"],
        "-P",
        Carries::Either,
    ),
    flag(&["curl"], "-u", Carries::UserColon),
    flag(&["curl"], "-U", Carries::UserColon),
    flag(&["curl"], "-E", Carries::UserColon),
    flag(&["curl"], "--user", Carries::LongUserColon),
    flag(&["curl"], "--proxy-user", Carries::LongUserColon),
    flag(&["curl"], "--cert", Carries::LongUserColon),
    flag(&["curl"], "--oauth2-bearer", Carries::Long),
    flag(&["curl"], "-b", Carries::Cookie),
    flag(&["curl"], "--cookie", Carries::Cookie),
    flag(HTTPIE, "-a", Carries::UserColon),
    flag(HTTPIE, "--auth", Carries::LongUserColon),
    flag(
        &["smbclient", "rpcclient", "net"],
        "-U",
        Carries::UserPercent,
    ),
    flag(&["openssl"], "-passin", Carries::PassColon),
    flag(&["openssl"], "-passout", Carries::PassColon),
    flag(&["openssl"], "-pass", Carries::PassColon),
    flag(&["openssl"], "-k", Carries::Next),
    ProgramFlag {
        programs: REGISTRY,
        command: Some("login"),
        flag: "-p",
        carries: Carries::Either,
    },
    ProgramFlag {
        programs: &["gh"],
        command: Some("secret"),
        flag: "-b",
        carries: Carries::Either,
    },
    ProgramFlag {
        programs: &["gh"],
        command: Some("secret"),
        flag: "--body",
        carries: Carries::Long,
    },
    flag(&["vault", "infisical"], "login", Carries::Positional),
];
