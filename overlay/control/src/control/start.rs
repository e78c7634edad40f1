//! From settings to a running node.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use libp2p::{Swarm, relay, swarm};
use tokio::time::MissedTickBehavior;

use super::places::Places;
use super::{Control, Retry};
use crate::book::Book;
use crate::event::Status;
use crate::hello::Claims;
use crate::limits::{IDLE, STREAMS_PENDING};
use crate::mapping::Mappings;
use crate::meter::Left;
use crate::names::Names;
use crate::plane::{Kind, Plane};
use crate::reach::Reach;
use crate::settings::Builder;
use crate::{StartError, address, clock, entropy, identity, transport};

/// How often a node looks after itself.
const TICK: Duration = Duration::from_secs(1);

impl Control {
    pub(crate) fn start(settings: Builder) -> Result<Self, StartError> {
        let lasting = settings.key.is_some();
        let passing = settings.listen.is_empty() && settings.advertise.is_empty() && settings.store.is_none();
        if !lasting && !passing {
            return Err(StartError::Setting("a node with a passing identity neither listens nor keeps a store"));
        }
        if settings.limits.heartbeat.is_zero() {
            return Err(StartError::Setting("the heartbeat takes some time"));
        }
        let key = settings.key.unwrap_or_else(identity::fresh);
        let listens = !settings.listen.is_empty();
        let kind = Kind { lasting, relays: settings.relays };
        let names = Names::new(&settings.network);
        let peer = key.public().to_peer_id();
        let (relayed, relayed_behaviour) = relay::client::new(peer);
        let transport = transport::build(&key, settings.test_network, relayed)?;
        let plane = Plane::new(&key, &names, kind, &settings.limits, relayed_behaviour)?;
        let config = swarm::Config::with_tokio_executor()
            .with_notify_handler_buffer_size(NonZeroUsize::new(32).expect("not zero"))
            .with_per_connection_event_buffer_size(16)
            .with_dial_concurrency_factor(NonZeroU8::new(2).expect("not zero"))
            .with_max_negotiating_inbound_streams(STREAMS_PENDING)
            .with_idle_connection_timeout(IDLE);
        let swarm = Swarm::new(transport, plane, peer, config);

        let now = clock::unix_seconds();
        let records = match &settings.store {
            Some(store) => store.peers()?,
            None => Vec::new(),
        };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begin = clock::now();
        let retry = Retry { at: begin, pause: Duration::from_secs(1) };
        let reach = Reach::new(peer, settings.limits.confirm_time / 2);
        let mut control = Control {
            swarm,
            names,
            network: settings.network,
            kind,
            test_network: settings.test_network,
            listens,
            limits: settings.limits,
            claims: Claims { lasting, ..settings.claims },
            bootstrap: settings.bootstrap.into_iter().map(|contact| (contact, retry)).collect(),
            book: Book::new(records, settings.test_network, now),
            store: settings.store,
            peers: BTreeMap::new(),
            questions: HashMap::new(),
            question_requests: HashMap::new(),
            asks: HashMap::new(),
            serial: 0,
            answers_in_flight: HashMap::new(),
            events: VecDeque::new(),
            tick,
            ticks: 0,
            mappings: Mappings::default(),
            mapped: [None; 2],
            reach,
            advertised: settings.advertise.iter().copied().flat_map(address::both).collect(),
            places: Places::new(entropy::seed(), begin),
            left: Left::default(),
            status: Status::default(),
            started: begin,
        };
        for identity in control.book.banned(now).collect::<Vec<_>>() {
            if let Some(peer) = identity.peer_id() {
                control.swarm.behaviour_mut().bans.block_peer(peer);
            }
        }
        for listen in &settings.listen {
            for multiaddr in address::both(*listen) {
                control.swarm.listen_on(multiaddr).map_err(|error| StartError::Listen(error.to_string()))?;
            }
        }
        for multiaddr in control.advertised.clone() {
            control.swarm.add_external_address(multiaddr);
        }
        if kind.lasting && settings.maps_ports && listens {
            control.mappings = Mappings::start(&settings.listen);
        }
        Ok(control)
    }
}
