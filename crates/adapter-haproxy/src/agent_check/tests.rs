use proptest::prelude::*;

use super::*;

fn read(line: &str) -> AgentReply {
    AgentReply::parse(line.as_bytes()).unwrap()
}

#[test]
fn lines_that_haproxy_reads() {
    let said = read("up ready 60% maxconn:30\n");
    assert_eq!((said.health(), said.admin()), (Some(AgentHealth::Up), Some(AgentAdmin::Ready)));
    assert_eq!((said.percent(), said.limit()), (Some(60), Some(30)));
    assert_eq!(said.to_string(), "up ready 60% maxconn:30\n");
    assert_eq!(read("MAXCONN:30,60%\tUp,,ready\r\nignored"), said);

    let said = read("stopped # overloaded, up 90%\n");
    assert_eq!((said.health(), said.reason()), (Some(AgentHealth::Stopped), Some("overloaded, up 90%")));
    assert_eq!(said.percent(), None);

    let said = read("50 up bogus\n");
    assert_eq!((said.unknown(), said.health()), (Some("50"), Some(AgentHealth::Up)));
    assert_eq!(read("75%%\n").refused(), Some("75%%"));
    assert_eq!(read("1.5% maxconn:x\n").refused(), Some("1.5%"));
    assert_eq!(read("up down\n").health(), Some(AgentHealth::Down)); // the last word counts
    assert_eq!(read("\n"), AgentReply::new());
}

#[test]
fn weights() {
    for (line, configured, weight) in [
        ("75%\n", 100, 75),
        ("150%\n", 100, 150),
        ("150%\n", 200, 256),
        ("0%\n", 100, 0),
        ("99999999999999999999%\n", 256, 256),
        ("33%\n", 10, 3),
    ] {
        assert_eq!(read(line).weight(configured), Some(weight), "{line}");
    }
}

#[test]
fn a_weight_that_is_meant_to_be_some_is_some() {
    for configured in 1..=256 {
        for percent in 1..=100 {
            let raised = AgentReply::new().with_percent(percent).with_some_weight(configured);
            assert!(raised.weight(configured) >= Some(1), "{percent} % of {configured}");
            // No more than it takes.
            let said = raised.percent().unwrap();
            assert!(said == percent || AgentReply::new().with_percent(said - 1).weight(configured) == Some(0));
        }
        assert_eq!(AgentReply::new().with_percent(0).with_some_weight(configured).percent(), Some(0));
    }
    assert_eq!(AgentReply::new().with_percent(7).with_some_weight(0).percent(), Some(7));
    assert_eq!(AgentReply::new().with_some_weight(1).percent(), None);
}

#[test]
fn what_is_no_line() {
    assert_eq!(AgentReply::parse(b""), Err(AgentLineError::Empty));
    assert_eq!(AgentReply::parse(b"up 90%"), Err(AgentLineError::Incomplete));
    assert_eq!(AgentReply::parse(b"up\0\n"), Err(AgentLineError::Nul { offset: 2 }));
    assert_eq!(AgentReply::parse(&[b'x'; MAX_AGENT_LINE + 1]), Err(AgentLineError::TooLong));
}

#[test]
fn reasons_stay_in_their_line() {
    let said = AgentReply::new().with_health(AgentHealth::Down).with_reason(" too\nbusy\r\n ");
    assert_eq!(said.to_string(), "down # too busy\n");
    assert_eq!(AgentReply::new().with_reason("\n").reason(), None);
    assert_eq!(AgentReply::new().with_reason(&"ü".repeat(200)).reason().map(str::len), Some(MAX_AGENT_REASON));
    let longest = AgentReply::new().with_health(AgentHealth::Down).with_reason(&"r".repeat(MAX_AGENT_REASON));
    assert_eq!(AgentReply::parse(longest.to_string().as_bytes()), Ok(longest));
}

/// HAProxy's side: one order, whoever gave it.
fn obey(order: &mut Option<Order>, word: Option<AgentAdmin>) {
    match word {
        None => {}
        Some(AgentAdmin::Ready) => *order = None,
        Some(AgentAdmin::Drain) => *order = Some(Order::Drain),
        Some(AgentAdmin::Maint) => *order = Some(Order::Maint),
    }
}

#[test]
fn asked_to_lift_all() {
    let mut orders = AgentOrders::new(ReadyRule::LiftAll);
    orders.set_operator(Some(Order::Maint));
    assert_eq!(orders.word(None), Some(AgentAdmin::Ready));
    orders.sent(Some(AgentAdmin::Ready));
    assert_eq!(orders.in_force(), None);
}

fn orders() -> impl Strategy<Value = Option<Order>> {
    prop::sample::select(vec![None, Some(Order::Drain), Some(Order::Maint)])
}

proptest! {
    /// Whatever an agent wants, and whichever lines are lost: an operator's order is never weakened, and what the
    /// agent ordered is lifted in the end.
    #[test]
    fn the_operator_is_obeyed(steps in prop::collection::vec((orders(), any::<bool>(), any::<bool>()), 1..40)) {
        let (mut orders, mut haproxy) = (AgentOrders::default(), None);
        for (order, operator, lost) in steps {
            if operator {
                orders.set_operator(order);
                haproxy = order; // as the command line of HAProxy does it
            } else {
                let word = orders.word(order);
                if !lost {
                    obey(&mut haproxy, word);
                    orders.sent(word);
                    prop_assert_eq!(haproxy, order.max(orders.operator()));
                }
            }
            prop_assert!(haproxy >= orders.operator());
        }
        let word = orders.word(None);
        obey(&mut haproxy, word);
        prop_assert!(haproxy == orders.operator());
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(said) = AgentReply::parse(&bytes) {
            let again = AgentReply::parse(said.to_string().as_bytes()).unwrap();
            prop_assert_eq!((again.health, again.admin, again.percent, again.limit, again.reason),
                (said.health, said.admin, said.percent, said.limit, said.reason));
        }
    }

    #[test]
    fn round_trip(health in 0..4_usize, admin in 0..4_usize, percent in 0..=MAX_PERCENT, limit in 0..=i32::MAX as u32,
                  reason in "\\PC{0,40}") {
        let health = [AgentHealth::Up, AgentHealth::Down, AgentHealth::Fail, AgentHealth::Stopped][health];
        let admin = [None, Some(AgentAdmin::Ready), Some(AgentAdmin::Drain), Some(AgentAdmin::Maint)][admin];
        let said = AgentReply::new().with_health(health).with_admin(admin).with_percent(percent).with_limit(limit)
            .with_reason(&reason);
        prop_assert_eq!(AgentReply::parse(said.to_string().as_bytes()).unwrap(), said);
    }
}
