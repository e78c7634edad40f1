//! How gossip is set up: whose messages are forwarded, what peers are scored by.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::gossipsub::{
    Behaviour, ConfigBuilder, MaxCountSubscriptionFilter, Message, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, TopicHash, TopicScoreParams, ValidationMode, Version, WhitelistSubscriptionFilter,
};
use sha2::{Digest, Sha256};
use zmesh_proto::wire::control::Topic;

use crate::names::Names;
use crate::reputation::{BAN_AT, CUT_AT};
use crate::{Limits, StartError};

/// Gossip that takes subscriptions to the topics of this network only.
pub(crate) type Gossip = Behaviour<libp2p::gossipsub::IdentityTransform, Filter>;
type Filter = MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>;

/// For how long a message is known, so that it is not judged or forwarded again.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// What one invalid message costs in the score of gossip; the square of their number counts. Little: gossip must not stop to
/// listen before the standing of the peer, which survives its connection, has come to a ban.
const INVALID: f64 = -2.0;

/// What the envelope of gossip adds to a message, at most.
const ENVELOPE: usize = 512;

fn largest() -> usize {
    Topic::ALL.into_iter().map(Topic::message_max).max().unwrap_or_default()
}

/// Gossip without signatures of its own: see decision 0211.
pub(crate) fn behaviour(names: &Names, limits: &Limits) -> Result<Gossip, StartError> {
    let mut config = ConfigBuilder::default();
    for topic in Topic::ALL {
        config.max_transmit_size_for_topic(topic.message_max() + ENVELOPE, names.topic(topic).hash());
    }
    let config = config
        .protocol_id(names.name("gossip"), Version::V1_1)
        .heartbeat_interval(limits.heartbeat)
        .heartbeat_initial_delay(limits.heartbeat / 4)
        .mesh_n_low(5)
        .mesh_n(8)
        .mesh_n_high(12)
        .mesh_outbound_min(3)
        .gossip_lazy(6)
        .history_length(12)
        .history_gossip(4)
        .flood_publish(true)
        .validate_messages()
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(message_id)
        .duplicate_cache_time(KNOWN_FOR)
        .max_transmit_size(largest() + ENVELOPE)
        // A peer that does not read costs these queues and no more.
        .connection_handler_queue_len(512)
        .max_publish_messages(64)
        .max_ihave_messages_heartbeat(10)
        .build()
        .map_err(|_| StartError::Fault("gossip refuses its settings"))?;
    let topics: Vec<TopicHash> = Topic::ALL.into_iter().map(|topic| names.topic(topic).hash()).collect();
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(topics.iter().cloned().collect()),
        max_subscribed_topics: topics.len(),
        max_subscriptions_per_request: 2 * topics.len(),
    };
    let mut gossip = Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)
        .map_err(|_| StartError::Fault("gossip refuses its settings"))?;
    let params = score(&topics);
    gossip.with_peer_score(params, thresholds()).map_err(|_| StartError::Fault("gossip refuses its scores"))?;
    for topic in Topic::ALL {
        gossip.subscribe(&names.topic(topic)).map_err(|_| StartError::Fault("gossip refuses a topic"))?;
    }
    Ok(gossip)
}

/// The name of a message is what it says: two peers that publish the same publish one message.
fn message_id(message: &Message) -> MessageId {
    let topic = message.topic.as_str().as_bytes();
    let hash = Sha256::new_with_prefix(b"zmesh gossip id v1\0")
        .chain_update((topic.len() as u64).to_be_bytes())
        .chain_update(topic)
        .chain_update(&message.data)
        .finalize();
    MessageId::new(&hash[..20])
}

/// The standing of a peer ([`crate::reputation`]) counts as it is; what gossip itself sees comes on top.
fn score(topics: &[TopicHash]) -> PeerScoreParams {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        // Being there and being first are worth little: nobody earns enough by them to pay for lies.
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 300.0,
        first_message_deliveries_weight: 0.05,
        first_message_deliveries_decay: 0.99,
        first_message_deliveries_cap: 40.0,
        // How much is said on a topic depends on the size of the network and the hour: silence is no offence.
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: INVALID,
        invalid_message_deliveries_decay: 0.999,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: topics.iter().map(|hash| (hash.clone(), topic.clone())).collect::<HashMap<_, _>>(),
        topic_score_cap: 10.0,
        app_specific_weight: 1.0,
        // The gate counts connections by address, before they are made.
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -5.0,
        behaviour_penalty_threshold: 4.0,
        behaviour_penalty_decay: 0.99,
        retain_score: Duration::from_secs(3_600),
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -20.0,
        publish_threshold: f64::from(CUT_AT) - 10.0,
        graylist_threshold: f64::from(BAN_AT) - 20.0,
        accept_px_threshold: 1_000.0,
        opportunistic_graft_threshold: 1.0,
    }
}
