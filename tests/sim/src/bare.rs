//! Gateway shards in a world without a town, for tests that bring their own peers and their own control.

use crate::peer::{LISTENER, SIGNALLING};
use crate::town::{EPOCH, Places};
use crate::{NodeId, Pace, World};
use link::RoutingSnapshot;
use sansio::{Machine, Mailbox, Time};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use switch::registrar::Registrar;
use switch::trunk::{TrunkConfig, TrunkTable};
use switch::{Config, Listener, RtpPorts, Shard, Shards, Start};

/// How many shards stand there.
pub const COUNT: u16 = 2;

/// How prompt everybody is there.
pub fn pace() -> Pace {
    Pace { wake_max: Duration::ZERO, ..Pace::default() }
}

/// Puts shards into a world, at [`Places::gateway`]; mailbox [`COUNT`] is control's. Gives them and their trunks.
///
/// # Errors
/// Says which trunk does not fit.
pub fn stand<A: Machine>(
    world: &mut World<A>,
    (config, trunks, seed): (&Config, Vec<TrunkConfig>, u64),
    wrap: impl Fn(Box<Shard>) -> A,
) -> Result<(Vec<NodeId>, Arc<TrunkTable>), String>
where
    A::Mail: Debug,
{
    let place = Places::V4.gateway();
    let table = TrunkTable::new(trunks, Vec::new(), None).map_err(|error| error.to_string())?;
    let (table, registrar) = (Arc::new(table), Arc::new(Registrar::new(&[0; 32])));
    let one = |me: u16| {
        let start = Start {
            config: config.clone(),
            shards: Shards { count: COUNT, me },
            listeners: vec![Listener { udp: SIGNALLING, tcp: LISTENER, local: place, advertised: place }],
            streams: Vec::new(),
            tls: false,
            rtp_ports: RtpPorts { low: 20_000, high: 20_015 },
            table: table.clone(),
            registrar: registrar.clone(),
            routing: Arc::new(RoutingSnapshot::default()),
            wall_at_zero: EPOCH,
            seed: seed * 100 + u64::from(me),
            secrets: switch::Secrets::new([me as u8; 32]),
        };
        let node = world.add(&format!("shard{me}"), 0, wrap(Box::new(Shard::new(Time::ZERO, start))), pace());
        world.bind(node, SIGNALLING, place);
        world.listen(node, LISTENER, place);
        world.assign(Mailbox(me), node);
        node
    };
    Ok(((0..COUNT).map(one).collect(), table))
}
