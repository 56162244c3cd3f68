//! What works, but perhaps not as meant; and what a relay heeds.

use super::*;

const RELAY: &str = "[server]\nmode = \"relay\"\ntcp = \"off\"\n";

#[test]
fn what_a_relay_does_not_heed_is_said_once() {
    let policy = |queue: &str| format!("[[policy]]\npattern = \"/queue/{queue}\"\nidle = \"1s\"\n");
    let limits = "[limits]\nframe = \"1MiB\"\nmemory = \"2GiB\"\n[queue]\nmessages = 10\n";
    let text = [RELAY, limits, &policy("a"), &policy("b"), "[hosts.blue]\n"].concat();
    let loaded = load_all(&text, &[("HOOFBEAT__APP__TIMEOUT", "1s")], &[("store.folder", "off")]);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    let said: Vec<String> = loaded.warnings.iter().map(|warning| warning.to_string()).collect();
    let [said] = said.as_slice() else { panic!("{said:?}") };
    let names = "limits.memory, queue.messages, app.timeout, store.folder, [[policy]], [hosts.blue]";
    assert!(
        said.contains(&format!("without effect when server.mode is \"relay\": {names}\n")),
        "{said}"
    );
    assert!(said.contains("memory = \"2GiB\""), "it shows the first of them: {said}");
}

#[test]
fn what_it_heeds_or_nobody_has_set_is_not_mentioned() {
    assert_eq!(warnings(RELAY), [""; 0]);
    let text = format!(
        "{RELAY}[session]\nunescape_connect = true\nstrict = true\n[user]\nsend = \"any\"\n[log]\nfilter = \"debug\"\n"
    );
    assert_eq!(warnings(&text), [""; 0]);
    assert_eq!(warnings("[queue]\nmessages = 10\n"), [""; 0]);
}

#[test]
fn what_looks_wrong_is_a_warning() {
    let one = |text: &str, wanted: &str| {
        let warnings = warnings(text);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(wanted), "{warnings:?}");
    };
    one(
        "[server]\ninsecure_open = true\ntcp = \"0.0.0.0:61613\"\n",
        "server.tcp = \"0.0.0.0:61613\" is open to everyone",
    );
    one("[server]\nallowed_origins = [\"*\"]\n", "every web page");
    one("[server]\npaths = []\n", "no WebSocket upgrade is taken");
    one("[session]\nstrict_host = true\n", "without any [hosts.NAME]");
    one(
        "[limits]\nhead = \"1KiB\"\n",
        "limits.header_line is larger than limits.head",
    );
    one(
        "[limits]\nmemory = \"1MiB\"\n",
        "queue.size is larger than limits.memory, so it is never reached",
    );
    one(
        "[limits]\nframe_before_connect = \"8MiB\"\n",
        "is larger than limits.frame, so strangers may send more than clients",
    );
    let spring = "[spring]\nuser_registry_broadcast = \"/topic/users\"\n";
    one(spring, "nobody may use the topics of [spring]");
    one("[topic]\nkey = \"k\"\n", "`key` has no effect");
    one(
        "[[policy]]\npattern = \"/topic/a\"\nkey = \"k\"\n",
        "`key` has no effect",
    );
    one(
        &"[[policy]]\npattern = \"/queue/a\"\n".repeat(2),
        "a second policy for \"/queue/a\"",
    );
}
