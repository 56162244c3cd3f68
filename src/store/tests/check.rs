//! `hoofbeat store check`.

use super::*;
use crate::store::check::check_disk;

fn checked(disk: &Simulated) -> (String, bool) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let checked = check_disk(&disk).unwrap();
    (checked.text, checked.damaged)
}

#[test]
fn it_says_what_is_in_a_folder_and_what_is_damaged_and_changes_nothing() {
    let disk = Simulated::new();
    assert_eq!(
        checked(&disk),
        (
            "memory: 0 queues, 0 messages; 0 segments, 0 octets, 0 % of them no longer needed\nnothing is damaged\n"
                .to_owned(),
            false
        )
    );
    let Opened { store, .. } = open(&disk);
    declare(&store, 1);
    declare(&store, 2);
    for seq in 1..=9 {
        append(&store, 1, seq, b"x", None);
    }
    settle(&store, 1, 4, None);
    store.close();
    let before: Vec<_> = disk.files().iter().map(|(name, _)| disk.read(name)).collect();
    let (text, damaged) = checked(&disk);
    assert!(!damaged, "{text}");
    assert!(text.starts_with("memory: 2 queues, 8 messages; 1 segments, "), "{text}");
    assert!(
        text.contains("\n/queue/1: 8 messages, ") && text.contains("\n/queue/2: 0 messages, 0 octets"),
        "{text}"
    );

    disk.flip("00000001.log", 740 * 8);
    let (text, damaged) = checked(&disk);
    assert!(damaged, "{text}");
    assert!(
        text.contains("\nDAMAGED: segment 00000001: octets ") && text.contains("of queue number 1\n"),
        "{text}"
    );
    disk.flip("00000001.log", 740 * 8);
    let after: Vec<_> = disk.files().iter().map(|(name, _)| disk.read(name)).collect();
    assert!(before == after);
}

#[test]
fn a_torn_end_is_a_note() {
    let disk = Simulated::new();
    let Opened { store, .. } = open(&disk);
    declare(&store, 1);
    append(&store, 1, 1, &[1; 700], None);
    store.step();
    append(&store, 1, 2, &[2; 700], None);
    disk.set_faults(crate::store::simulated::Faults {
        fuel: Some(300),
        ..Default::default()
    });
    store.step();
    let (text, damaged) = checked(&disk.crash(crate::store::simulated::Crash::Killed));
    assert!(!damaged, "{text}");
    assert!(
        text.contains("\nnote: segment 00000001: the log ends in a torn commit"),
        "{text}"
    );
}
