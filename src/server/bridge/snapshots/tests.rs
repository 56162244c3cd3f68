use super::*;
use crate::broker::journal::Volatile;
use crate::broker::users::Private;
use crate::broker::{Broker, Settings};

const SECOND: Duration = Duration::from_secs(1);

fn private(destination: &str) -> Private {
    Private {
        id: "0".into(),
        destination: destination.into(),
    }
}

/// A session of this user, with a subscription.
fn session(broker: &Broker, name: &str, token: String) -> Arc<Presence> {
    let presence = broker.greet(Some(name.into()), token.into());
    presence.add(0, private("/user/queue/pos"));
    presence
}

/// Users of these names, with a session and a subscription each.
fn users(broker: &Broker, names: impl Iterator<Item = String>) -> Vec<Arc<Presence>> {
    names
        .map(|name| session(broker, &name, format!("token of {name}")))
        .collect()
}

fn broker() -> Broker {
    Broker::new(Settings::default(), 1, Arc::new(Volatile))
}

fn walk(snapshots: &mut Snapshots, broker: &Broker, now: Instant) {
    loop {
        let mut look = snapshots.look();
        broker
            .users()
            .after(None, usize::MAX)
            .into_iter()
            .for_each(|session| look.see(session));
        if snapshots.take(look, now) {
            return;
        }
    }
}

/// Tells what is due, and says of whom.
fn look(snapshots: &mut Snapshots, broker: &Broker, now: Instant) -> Vec<String> {
    walk(snapshots, broker, now);
    let told = snapshots.due(now, SECOND).into_iter().map(|number| {
        let text = snapshots.text(number);
        snapshots.told(number, &text, now);
        text.json
    });
    told.collect()
}

#[test]
fn a_snapshot_is_what_spring_reads() {
    let broker = broker();
    let _zoe = users(&broker, ["zoe".to_owned()].into_iter());
    // Those without a subscription under /user are clients like any other, such as Spring itself.
    let _relay = broker.greet(Some("guest".into()), "t".into());
    let mut snapshots = Snapshots::new("edge".into());
    let text = look(&mut snapshots, &broker, Instant::now());
    let wanted = r#"{"id":"edge-0","userMap":{"zoe":{"name":"zoe","sessions":[{"id":"token of zoe","subscriptions":[{"id":"0","destination":"/user/queue/pos"}]}]}}}"#;
    assert_eq!(text, [wanted]);
}

#[test]
fn it_is_told_again_when_it_changes_or_is_old() {
    let broker = broker();
    let mut snapshots = Snapshots::new("edge".into());
    let mut now = Instant::now();
    let nobody = r#"{"id":"edge-0","userMap":{}}"#;
    assert_eq!(look(&mut snapshots, &broker, now), [nobody]);
    assert!(look(&mut snapshots, &broker, now).is_empty());
    let zoe = users(&broker, ["zoe".to_owned()].into_iter());
    assert_eq!(look(&mut snapshots, &broker, now).len(), 1);
    assert!(!zoe[0].is_told(), "the nodes may not have read it yet");
    assert!(look(&mut snapshots, &broker, now).is_empty());
    assert!(zoe[0].is_told());
    zoe[0].add(1, private("/user/queue/other"));
    assert!(look(&mut snapshots, &broker, now)[0].contains("/user/queue/other"));
    zoe[0].remove(1);
    assert_eq!(look(&mut snapshots, &broker, now).len(), 1);
    now += BEAT;
    assert_eq!(look(&mut snapshots, &broker, now).len(), 1);
    broker.part(&zoe[0]);
    assert_eq!(look(&mut snapshots, &broker, now), [nobody]);
}

#[test]
fn a_session_that_ends_between_look_and_telling_is_told_of_once_more() {
    let broker = broker();
    let mut snapshots = Snapshots::new("edge".into());
    let now = Instant::now();
    let zoe = users(&broker, ["zoe".to_owned()].into_iter());
    walk(&mut snapshots, &broker, now);
    zoe[0].remove(0);
    let text = snapshots.text(0);
    assert!(text.json.contains(r#""subscriptions":[]"#));
    snapshots.told(0, &text, now);
    assert_eq!(look(&mut snapshots, &broker, now), [r#"{"id":"edge-0","userMap":{}}"#]);
}

#[test]
fn what_spring_has_not_been_told_for_long_it_does_not_know() {
    let broker = broker();
    let mut snapshots = Snapshots::new("edge".into());
    let now = Instant::now();
    let zoe = users(&broker, ["zoe".to_owned()].into_iter());
    look(&mut snapshots, &broker, now);
    walk(&mut snapshots, &broker, now + BEAT);
    assert!(zoe[0].is_told());
    walk(&mut snapshots, &broker, now + FORGOTTEN);
    assert!(!zoe[0].is_told());
    assert_eq!(look(&mut snapshots, &broker, now + FORGOTTEN).len(), 1);
    walk(&mut snapshots, &broker, now + FORGOTTEN);
    assert!(zoe[0].is_told());
    snapshots.forget();
    assert!(!zoe[0].is_told());
    assert_eq!(look(&mut snapshots, &broker, now + FORGOTTEN).len(), 1);
}

#[test]
fn of_a_user_with_very_many_sessions_some_are_told_and_others_lose_nothing() {
    let broker = broker();
    let mut snapshots = Snapshots::new("edge".into());
    let crowd: Vec<_> = (0..10_000)
        .map(|n| session(&broker, "everybody", format!("{n:032}")))
        .collect();
    let zoe = users(&broker, ["zoe".to_owned()].into_iter());
    let now = Instant::now();
    let mut texts = Vec::new();
    for turn in 0..8 {
        texts.extend(look(&mut snapshots, &broker, now + SECOND * turn));
    }
    assert!(texts.iter().all(|text| text.len() <= 2 * USER));
    assert_eq!(texts.iter().filter(|text| text.contains("token of zoe")).count(), 1);
    let told = crowd.iter().filter(|session| session.is_told()).count();
    assert!((2_000..9_000).contains(&told), "{told}");
    assert!(zoe[0].is_told());
    let cut = (0..snapshots.all.len()).filter_map(|number| snapshots.text(number).cut);
    assert_eq!(cut.collect::<Vec<_>>(), ["everybody".into()]);
}

#[test]
fn many_users_are_parted_and_every_part_has_its_turn() {
    let broker = broker();
    let mut snapshots = Snapshots::new("edge".into());
    let mut now = Instant::now();
    let few = users(&broker, (0..100).map(|n| format!("user {n}")));
    assert_eq!(look(&mut snapshots, &broker, now).len(), 1);
    let _many = users(&broker, (100..3_000).map(|n| format!("user {n}")));
    let mut told = Vec::new();
    for turn in 0..8 {
        let texts = look(&mut snapshots, &broker, now + SECOND * turn);
        assert!(texts.iter().all(|text| text.len() < 2 * SNAPSHOT));
        told.push(texts);
    }
    assert!(
        !told[0].iter().any(|text| text.contains("\"edge-0\"")),
        "what is new comes first"
    );
    let all = told.concat();
    assert_eq!(all.len(), snapshots.all.len());
    assert!(all.len() >= 8);
    let names: usize = all.iter().map(|text| text.matches("\"name\"").count()).sum();
    assert_eq!(names, 3_000);
    assert!(few.iter().filter(|session| !session.is_told()).count() < 100);

    // Nothing is older than Spring remembers, however long it goes on.
    let mut ages: BTreeMap<String, u32> = BTreeMap::new();
    for turn in 0..30 {
        now += SECOND;
        for text in look(&mut snapshots, &broker, now) {
            let id = text.split('"').nth(3).unwrap_or_default().to_owned();
            let before = ages.insert(id, turn).unwrap_or(turn);
            assert!(turn - before < 18, "{before} {turn}");
        }
    }
    assert_eq!(ages.len(), snapshots.all.len());
}

#[test]
fn who_looks_seldom_tells_more_at_a_time() {
    let broker = broker();
    let mut snapshots = Snapshots::new("edge".into());
    let _many = users(&broker, (0..20_000).map(|n| format!("user {n}")));
    let now = Instant::now();
    walk(&mut snapshots, &broker, now);
    let all = snapshots.all.len();
    assert!(all >= 32);
    assert_eq!(snapshots.due(now, SECOND).len(), all / 8);
    assert_eq!(snapshots.due(now, 4 * SECOND).len(), all / 2);
    assert_eq!(snapshots.due(now, 80 * SECOND).len(), all);
}
