//! Who is connected.

use super::*;

#[test]
fn the_login_is_the_principal_while_nothing_authenticates() {
    let mut world = World::new(broker::Settings::default());
    let mut joe = world.client_with("login:joe\npasscode:any\n");
    let again = world.client_with("login:joe\n");
    let nobody = world.client();
    let name = |client: &Client| client.session.principal().and_then(|who| who.name.clone());
    assert_eq!(name(&joe).as_deref(), Some("joe"));
    assert_eq!(name(&nobody), None);
    assert_eq!(world.broker.users().sessions("joe").len(), 2);
    let sizes = world.broker.sizes();
    assert_eq!((sizes.sessions, sizes.users, sizes.user_sessions), (3, 1, 2));

    joe.session.end(world.now);
    drop((again, nobody));
    let sizes = world.broker.sizes();
    assert_eq!((sizes.sessions, sizes.users, sizes.user_sessions), (0, 0, 0));
}
