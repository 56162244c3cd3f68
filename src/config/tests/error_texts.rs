//! The text of each error, whole where a change should be noticed.

use super::*;

#[track_caller]
fn is(text: &str, wanted: &str) {
    assert_eq!(errors(text), wanted.trim_start_matches('\n'));
}

#[test]
fn unknown_key() {
    is(
        "[limits]\nfrmae = \"4MiB\"\n",
        "
error: hoofbeat.toml:2:1: unknown key `frmae` in [limits]
  2 | frmae = \"4MiB\"
    | ^^^^^
  = did you mean `frame`?",
    );
}

#[test]
fn key_of_another_section() {
    is(
        "[server]\nconnect_timeout = \"4s\"\n",
        "
error: hoofbeat.toml:2:1: unknown key `connect_timeout` in [server]
  2 | connect_timeout = \"4s\"
    | ^^^^^^^^^^^^^^^
  = did you mean `session.connect_timeout`?",
    );
}

#[test]
fn key_that_resembles_nothing() {
    is(
        "[topic]\ncolour = 1\n",
        "
error: hoofbeat.toml:2:1: unknown key `colour` in [topic]
  2 | colour = 1
    | ^^^^^^
  = known there: slow_consumer, key",
    );
}

#[test]
fn key_outside_a_section() {
    is(
        "tcp = 61613\n",
        "
error: hoofbeat.toml:1:1: unknown key `tcp` outside a section
  1 | tcp = 61613
    | ^^^
  = did you mean `server.tcp`?",
    );
}

#[test]
fn unknown_section() {
    is(
        "[limit]\nframe = 1\n",
        "
error: hoofbeat.toml:1:2: unknown key `limit` in the file
  1 | [limit]
    |  ^^^^^
  = did you mean `limits`?",
    );
}

#[test]
fn section_that_is_no_table() {
    is(
        "limits = 1\n",
        "
error: hoofbeat.toml:1:1: `limits` is a table
  1 | limits = 1
    | ^^^^^^
  = write [limits], and its keys below",
    );
}

#[test]
fn host_that_is_no_table() {
    assert!(errors("[hosts]\na = 1\n").contains("`a` is a table"));
    assert!(errors("[hosts]\na = 1\n").contains("write [hosts.a], and its keys below"));
    assert!(errors("[hosts.a]\nqueue = 1\n").contains("write [hosts.\"a\".queue], and its keys below"));
}

#[test]
fn wrong_unit() {
    is(
        "[limits]\n  frame = \"4MB\" # big\n",
        "
error: hoofbeat.toml:2:11: limits.frame = \"4MB\": `MB` is not a unit (B, KiB, MiB, GiB, TiB are)
  2 |   frame = \"4MB\" # big
    |           ^^^^^
  = allowed: a size from 1KiB to 1GiB: \"64KiB\", \"4MiB\", or a number of octets",
    );
}

#[test]
fn wrong_type() {
    is(
        "[session]\nconnect_timeout = true\nstrict = \"true\"\n",
        "
error: hoofbeat.toml:2:19: session.connect_timeout = true: not a duration
  2 | connect_timeout = true
    |                   ^^^^
  = allowed: a duration from 1ms to 1d: \"10s\", \"500ms\", or a number of milliseconds
error: hoofbeat.toml:3:10: session.strict = \"true\": neither true nor false
  3 | strict = \"true\"
    |          ^^^^^^
  = allowed: true or false",
    );
}

#[test]
fn out_of_range() {
    is(
        "[limits]\nheader_lines = 0\nsubscriptions = -1\n[server]\nbacklog = 70000\n",
        "
error: hoofbeat.toml:2:16: limits.header_lines = 0: too small
  2 | header_lines = 0
    |                ^
  = allowed: a whole number from 8 to 100000
error: hoofbeat.toml:3:17: limits.subscriptions = -1: less than nothing
  3 | subscriptions = -1
    |                 ^^
  = allowed: a whole number from 1 to 1000000000
error: hoofbeat.toml:5:11: server.backlog = 70000: too large
  5 | backlog = 70000
    |           ^^^^^
  = allowed: a whole number from 1 to 65535",
    );
}

#[test]
fn unknown_word() {
    is(
        "[queue]\nfull = \"drop\"\n",
        "
error: hoofbeat.toml:2:8: queue.full = \"drop\": not one of the words
  2 | full = \"drop\"
    |        ^^^^^^
  = allowed: \"block\", \"reject\", \"drop-head\"",
    );
}

#[test]
fn address() {
    let allowed = "\n  = allowed: \"127.0.0.1:61613\" or \"[::1]:61613\", a port alone (on 127.0.0.1; 0 takes a \
                   free one), or \"off\"";
    is(
        "[server]\ntcp = \":61613\"\n",
        &format!(
            "
error: hoofbeat.toml:2:7: server.tcp = \":61613\": no host; all addresses are \"0.0.0.0:61613\"
  2 | tcp = \":61613\"
    |       ^^^^^^^^{allowed}"
        ),
    );
    is(
        "[server]\ntcp = 99999\n",
        &format!(
            "
error: hoofbeat.toml:2:7: server.tcp = 99999: not a port (0 to 65535)
  2 | tcp = 99999
    |       ^^^^^{allowed}"
        ),
    );
    assert!(errors("[server]\ntcp = \"broker.example:1\"\n").contains("names are not resolved"));
}

#[test]
fn origin() {
    let why = |origin: &str| errors(&format!("[server]\nallowed_origins = [\"{origin}\"]\n"));
    assert!(why("app.example").contains("has no scheme"));
    assert!(why("https://app.example/").contains("a slash at the end"));
    assert!(why("https://*.example").contains("has a wildcard"));
    assert!(why("https://").contains("is not an origin"));
    assert!(why("https://app.example:port").contains("is not an origin"));
}

#[test]
fn path() {
    let why = |path: &str| errors(&format!("[server]\npaths = [\"{path}\"]\n"));
    assert!(why("ws").contains("does not begin with a slash"));
    assert!(why("/a?b").contains("has characters that no path has"));
    assert!(why("/health").contains("which the server answers itself"));
}

#[test]
fn log_filter() {
    assert!(errors("[log]\nfilter = \"inof\"\n").contains("\"inof\" is not a level"));
    assert!(errors("[log]\nfilter = \"hoofbeat=loud\"\n").contains("log.filter = \"hoofbeat=loud\": "));
}

#[test]
fn not_toml() {
    let text = errors("[limits]\nframe = \n");
    assert!(text.starts_with("error: hoofbeat.toml:2:"), "{text}");
    assert!(text.contains("not TOML: "), "{text}");
    assert!(text.contains("  2 | frame = "), "{text}");
    assert!(errors("[limits]\nframe = 2048\nframe = 4096\n").contains("hoofbeat.toml:3:1: not TOML: duplicate key"));
}

#[test]
fn policy() {
    is(
        "[[policy]]\nmessages = 1\n",
        "
error: hoofbeat.toml:1:1: a policy without `pattern`
  1 | [[policy]]
    | ^^^^^^^^^^
  = for example: pattern = \"/queue/orders.#\"",
    );
    is(
        "[[policy]]\npattern = \"/topic/a\"\nmessages = 1\n",
        "
error: hoofbeat.toml:3:12: `messages` means nothing for /topic/a, which is a topic
  3 | messages = 1
    |            ^
  = keys for a topic: slow_consumer, key",
    );
    is(
        "[[policy]]\npattern = \"/topic/a\"\nslow_consumer = \"latest-only\"\n",
        "
error: hoofbeat.toml:3:17: slow_consumer = \"latest-only\" needs `key`
  3 | slow_consumer = \"latest-only\"
    |                 ^^^^^^^^^^^^^
  = name the header whose value tells messages apart: key = \"symbol\"",
    );
    is(
        "[policy]\npattern = \"/topic/a\"\n",
        "
error: hoofbeat.toml:1:1: `policy` is a list of tables
  1 | [policy]
    | ^^^^^^^^
  = write [[policy]] for each, and its keys below",
    );
    assert!(errors("[[policy]]\npattern = \"a\"\n").contains("begins with a slash"));
    assert!(errors("[[policy]]\npattern = \"/queue/a\"\nmesages = 1\n").contains("did you mean `messages`?"));
}

#[test]
fn pattern_that_matches_nothing() {
    let why = |pattern: &str| errors(&format!("[[policy]]\npattern = \"{pattern}\"\n"));
    assert_eq!(
        why("/amq/queue/a.#"),
        "error: hoofbeat.toml:2:11: destinations under /amq/queue are known by another name here\n  \
         2 | pattern = \"/amq/queue/a.#\"\n    |           ^^^^^^^^^^^^^^^^\n  = write \"/queue/a.#\""
    );
    assert!(why("/chat/a").contains("no destination begins with \"/chat\""));
    assert!(why("/topic/#.a.#.b.#.c.#").contains("has more than three `#`"));
    for pattern in ["/#", "/*/a", "/queue/#", "/reply-queue/*/#", "/exchange/amq.direct/#"] {
        assert!(
            load_all(&format!("[[policy]]\npattern = \"{pattern}\"\n"), &[], &[]).is_ok(),
            "{pattern}"
        );
    }
}

#[test]
fn policy_under_a_prefix_of_the_operator() {
    let text = errors(
        "[[prefix]]\nprefix = \"/chat\"\nkind = \"topic\"\n[[policy]]\npattern = \"/chat/a\"\nfull = \"block\"\n",
    );
    assert!(
        text.contains("`full` means nothing for /chat/a, which is a topic"),
        "{text}"
    );
}

#[test]
fn latest_only_without_a_key() {
    let text = errors("[topic]\nslow_consumer = \"latest-only\"\n");
    assert!(
        text.contains("hoofbeat.toml:2:17: slow_consumer = \"latest-only\" needs `key`"),
        "{text}"
    );
    let text = errors("[hosts.a.topic]\nslow_consumer = \"latest-only\"\n");
    assert!(text.contains("needs `key`"), "{text}");
}

#[test]
fn prefix() {
    assert!(errors("[[prefix]]\nprefix = \"/a\"\n").contains("a prefix without `kind`"));
    assert!(errors("[[prefix]]\nkind = \"topic\"\n").contains("a prefix without `prefix`"));
    let text = errors("[[prefix]]\nprefix = \"/a\"\nkind = \"tpoic\"\n");
    assert!(
        text.contains("kind = \"tpoic\"") && text.contains("allowed: \"topic\", \"queue\""),
        "{text}"
    );
    let text = errors("[[prefix]]\nprefix = \"/topic\"\nkind = \"queue\"\n");
    assert!(text.contains("/topic cannot be of the other kind"), "{text}");
    let text = errors("[[prefix]]\nprefix = \"/user\"\nkind = \"topic\"\n");
    assert!(text.contains("/user has a meaning of its own"), "{text}");
    let twice = "[[prefix]]\nprefix = \"/a\"\nkind = \"topic\"\n".repeat(2);
    assert!(errors(&twice).contains("hoofbeat.toml:5:10: a second entry for /a"));
}

#[test]
fn option_of_the_server_in_a_host() {
    is(
        "[hosts.a.limits]\nframe = 2048\n",
        "
error: hoofbeat.toml:2:1: `limits.frame` is one value for all virtual hosts
  2 | frame = 2048
    | ^^^^^
  = set it in [limits]",
    );
    assert!(errors("[hosts.a.hosts.b]\n").contains("unknown key `hosts` in [hosts.a]"));
}

#[test]
fn variable() {
    let with = |name: &str, text: &str| shorten(load_all("", &[(name, text)], &[]));
    assert_eq!(
        with("HOOFBEAT__LIMITS__FRAEM", "1"),
        "error: environment variable HOOFBEAT__LIMITS__FRAEM: no option has that variable\n  \
         = did you mean HOOFBEAT__LIMITS__FRAME?"
    );
    assert_eq!(
        with("HOOFBEAT__LIMITS__FRAME", "4MB"),
        "error: environment variable HOOFBEAT__LIMITS__FRAME: limits.frame = \"4MB\": `MB` is not a unit \
         (B, KiB, MiB, GiB, TiB are)\n  \
         = allowed: a size from 1KiB to 1GiB: \"64KiB\", \"4MiB\", or a number of octets"
    );
    assert!(with("HOOFBEAT__POLICY__X", "1").contains("are set in the file only"));
    assert!(with("HOOFBEAT__LIMITS__HEADER_LINES", "many").contains("not a whole number"));
    assert!(with("HOOFBEAT__LIMITS__HEADER_LINES", "99999999999999999999").contains("too large"));
}

#[test]
fn flag() {
    let with = |option: &str, text: &str| shorten(load_all("", &[], &[(option, text)]));
    assert_eq!(
        with("limits.fraem", "1"),
        "error: --set limits.fraem: no option is named `limits.fraem`\n  = did you mean `limits.frame`?"
    );
    assert!(with("heart_beat", "1s").contains("did you mean `session.heart_beat`?"));
    assert!(with("hosts.a.queue.messages", "1").contains("are set in the file only"));
    assert!(with("session.heart_beat", "10s,2d").contains("session.heart_beat = \"10s,2d\": too large"));
}

#[test]
fn open_listener_without_authentication() {
    is(
        "[server]\ntcp = \"0.0.0.0:61613\"\n",
        "
error: hoofbeat.toml:2:7: server.tcp = \"0.0.0.0:61613\" can be reached from other machines, and nothing \
authenticates clients: whoever connects may publish, subscribe and empty queues
  2 | tcp = \"0.0.0.0:61613\"
    |       ^^^^^^^^^^^^^^^
  = listen on 127.0.0.1, name users ([[users]], hoofbeat passwd), or say that it is meant: --insecure-open or \
server.insecure_open = true",
    );
}

#[test]
fn listeners_that_cannot_be() {
    assert!(errors("[server]\ntcp = \"off\"\nwebsocket = \"off\"\n").contains("are both off"));
    assert!(errors("[server]\ntcp = 15674\n").contains("is the address of server.websocket too"));
}

#[test]
fn file_that_cannot_be_read() {
    let missing = load(Some(Path::new("/nonexistent/h.toml")), [], &[]);
    let text = missing.err().unwrap().to_string();
    assert!(
        text.starts_with("error: --config: cannot read /nonexistent/h.toml: No such file"),
        "{text}"
    );
}

#[test]
fn what_could_not_be_read_is_not_judged() {
    let text = shorten(load_all(
        "[server\ninsecure_open = true\n",
        &[("HOOFBEAT__SERVER__TCP", "0.0.0.0:1")],
        &[],
    ));
    assert!(text.contains("not TOML") && !text.contains("0.0.0.0"), "{text}");
}

#[test]
fn all_errors_at_once_in_order() {
    let result = load_all(
        "[zebra]\n[limits]\nframe = 1\n[apple]\n",
        &[("HOOFBEAT__X__Y", "1")],
        &[("no.such", "1")],
    );
    let text = shorten(result);
    let places: Vec<Option<usize>> = [
        "`zebra`",
        "limits.frame = 1",
        "`apple`",
        "HOOFBEAT__X__Y",
        "--set no.such",
    ]
    .iter()
    .map(|part| text.find(part))
    .collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
}
