//! `[[users]]`.

use super::*;
use crate::auth::password::Memory;

pub(super) const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$L3+lDgLZ0NpwnTamhN22XQ$DDkvbpPTXa0KGrUsnsszNm+fStFz5WPAwDMh2TP0WjM";

pub(super) fn entry(lines: &str) -> String {
    format!("[[users]]\n{lines}\n")
}

#[test]
fn users_are_read_and_their_passwords_are_not_shown() {
    let file = entry(&format!("name = \"joe\"\npassword = \"{HASH}\""))
        + &entry(&format!(
            "name = \"server\"\npassword = \"{HASH}\"\nmay_send_to_users = true\nworker = [\"/app/**\"]"
        ));
    let loaded = load_file(&file);
    let users: Vec<_> = loaded
        .config
        .users
        .iter()
        .map(|user| (&*user.name, user.may_send_to_users))
        .collect();
    assert_eq!(users, [("joe", false), ("server", true)]);
    assert!(loaded.config.users[0].password.is("secret", &mut Memory::default()));
    let shown = loaded.show();
    assert!(
        shown.contains("name = \"joe\"") && shown.contains("may_send_to_users = true"),
        "{shown}"
    );
    assert!(!shown.contains("argon2id"), "{shown}");
    assert_eq!(loaded.config.users[1].worker, ["/app/**"]);
    assert!(
        shown.contains("worker = [\"/app/**\"]") && shown.contains("worker = []"),
        "{shown}"
    );
}

#[test]
fn with_users_other_machines_may_connect_but_it_is_told_that_nothing_is_encrypted() {
    let file = entry(&format!("name = \"joe\"\npassword = \"{HASH}\"")) + "[server]\ntcp = \"0.0.0.0:61613\"\n";
    let warnings = load_file(&file).warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].to_string().contains("takes passcodes unencrypted"),
        "{}",
        warnings[0]
    );
}

#[test]
fn what_is_wrong_with_a_user_is_told_without_its_password() {
    let plain = errors(&entry("name = \"joe\"\npassword = \"open sesame\""));
    assert!(plain.contains("hoofbeat.toml:3:12: password: "), "{plain}");
    assert!(
        plain.contains("hoofbeat passwd NAME") && !plain.contains("sesame"),
        "{plain}"
    );

    let named = format!("name = \"joe\"\npassword = \"{HASH}\"");
    for (lines, told) in [
        ("name = \"joe\"".to_owned(), "a user without `password`"),
        (format!("password = \"{HASH}\""), "a user without `name`"),
        (format!("name = \"\"\npassword = \"{HASH}\""), "name = \"\""),
        (format!("{named}\nmay_send_to_users = 1"), "may_send_to_users = 1"),
        (format!("{named}\nworker = \"/app/a\""), "worker = \"/app/a\""),
        (format!("{named}\nworker = [\"/queue/a\"]"), "worker = [\"/queue/a\"]"),
        (
            format!("{named}\npasword = \"x\""),
            "unknown key `pasword` in [[users]]",
        ),
        (format!("{named}\n[[users]]\n{named}"), "a second user called \"joe\""),
    ] {
        let problems = errors(&entry(&lines));
        assert!(problems.contains(told), "{problems}");
    }
    let host = errors(&format!("[[hosts.\"a\".users]]\n{named}"));
    assert!(host.contains("unknown key `users` in [hosts.a]"), "{host}");
}
