//! A relay's store on a real disk.
#![allow(clippy::cast_possible_truncation, reason = "made-up bytes")]

use std::fs;
use std::path::{Path, PathBuf};

use zmesh_fec::chunk::decode;
use zmesh_proto::seeding::cache::{Refusal, Source};
use zmesh_proto::seeding::{ChunkId, ChunkRef, Class, SymbolRun};

use super::ChunkStore;
use super::store::{ChunkMetrics, Store};

fn chunk(seed: u8, class: Class) -> (ChunkRef, Vec<u8>) {
    let bytes: Vec<u8> =
        (0..class.len()).map(|at| (at as u8).wrapping_mul(seed).wrapping_add((at >> 8) as u8)).collect();
    let id = ChunkId::of(&bytes);
    (ChunkRef { id, shelf: id.shelf(), class }, bytes)
}

fn store(path: &Path, room: u64) -> Store {
    let mut config = ChunkStore::new(path.to_owned());
    config.room = room;
    Store::open(&config).expect("opens")
}

fn metrics(store: &Store) -> ChunkMetrics {
    let mut metrics = ChunkMetrics::default();
    store.fill(&mut metrics);
    metrics
}

fn run(chunk: ChunkRef) -> SymbolRun {
    SymbolRun { chunk, first: 7, count: chunk.class.sources() + 4 }
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for stage in ["trial", "kept"] {
        files.extend(fs::read_dir(path.join(stage)).expect("a directory").map(|entry| entry.expect("a file").path()));
    }
    files
}

fn gives(store: &Store, of: (ChunkRef, &[u8])) -> bool {
    let Some(symbols) = store.symbols(&run(of.0), Source(99)) else { return false };
    let numbered = symbols.chunks(1024).zip(7u32..).map(|(symbol, number)| (number, symbol));
    decode(of.0.class.sources(), numbered).as_deref() == Some(of.1)
}

#[test]
fn a_restart_keeps_the_cache() {
    let folder = tempfile::tempdir().expect("a directory");
    let (kept, trial) = (chunk(1, Class::Page), chunk(2, Class::Note));
    let first = store(folder.path(), 16 << 20);
    first.insert(kept.0, Source(1), &kept.1).expect("taken");
    first.insert(trial.0, Source(1), &trial.1).expect("taken");
    assert_eq!(first.insert(trial.0, Source(2), &trial.1), Err(Refusal::Held));
    assert!(gives(&first, (kept.0, &kept.1)));
    assert_eq!(files(folder.path()).len(), 2);
    assert!(folder.path().join("kept").read_dir().expect("a directory").next().is_some(), "it was asked for");
    let before = metrics(&first);
    drop(first);
    // Leftovers of a crash, and whatever else cannot be a chunk, go.
    fs::write(folder.path().join("trial/0123.new"), b"half").expect("written");
    let second = store(folder.path(), 16 << 20);
    assert_eq!(metrics(&second).chunks, before.chunks);
    assert_eq!(metrics(&second).chunk_bytes, before.chunk_bytes);
    assert_eq!(files(folder.path()).len(), 2);
    assert!(gives(&second, (kept.0, &kept.1)) && gives(&second, (trial.0, &trial.1)));
    assert_eq!(second.kept_after(None, 9).len(), 2);
}

#[test]
fn a_chunk_is_not_given_under_another_length() {
    let folder = tempfile::tempdir().expect("a directory");
    let (note, bytes) = chunk(4, Class::Note);
    let store = store(folder.path(), 16 << 20);
    store.insert(note, Source(1), &bytes).expect("taken");
    let full = ChunkRef { class: Class::Full, ..note };
    assert!(store.symbols(&SymbolRun { chunk: full, first: 7, count: 4 }, Source(2)).is_none());
    assert!(gives(&store, (note, &bytes)));
}

#[test]
fn damaged_files_are_found_and_dropped() {
    let folder = tempfile::tempdir().expect("a directory");
    let (one, two) = (chunk(3, Class::Page), chunk(5, Class::Note));
    let first = store(folder.path(), 16 << 20);
    first.insert(one.0, Source(1), &one.1).expect("taken");
    first.insert(two.0, Source(1), &two.1).expect("taken");
    drop(first);
    for file in files(folder.path()) {
        let mut bytes = fs::read(&file).expect("readable");
        if bytes.len() > 8_000 {
            // One byte of the contents.
            bytes[9_000] ^= 1;
        } else {
            bytes.truncate(100);
        }
        fs::write(&file, bytes).expect("written");
    }
    let second = store(folder.path(), 16 << 20);
    assert_eq!(metrics(&second).chunks, 1, "a file that is too short is no chunk");
    assert!(!gives(&second, (one.0, &one.1)));
    assert_eq!((metrics(&second).chunks, metrics(&second).chunks_damaged), (0, 1));
    assert!(files(folder.path()).is_empty());
    // And it can be kept again.
    second.insert(one.0, Source(1), &one.1).expect("taken");
    assert!(gives(&second, (one.0, &one.1)));
}

#[test]
fn the_disk_is_bounded_and_a_smaller_room_keeps_the_newest() {
    let folder = tempfile::tempdir().expect("a directory");
    let room = 2 << 20;
    let full = store(folder.path(), room);
    let chunks: Vec<_> = (1..=200u8).map(|seed| chunk(seed, Class::Page)).collect();
    for (at, (chunk, bytes)) in chunks.iter().enumerate() {
        let _ = full.insert(*chunk, Source(at as u64 / 8), bytes);
        if at % 3 == 0 {
            let _ = full.symbols(&run(*chunk), Source(1_000));
        }
    }
    let on_disk: u64 = files(folder.path()).iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
    assert!(on_disk <= room && on_disk > room / 2, "{on_disk}");
    let counted = metrics(&full);
    assert_eq!(counted.chunks, files(folder.path()).len());
    assert_eq!(counted.chunks + usize::try_from(counted.chunks_evicted).expect("few"), 200);
    drop(full);
    let smaller = store(folder.path(), room / 2);
    assert!(metrics(&smaller).chunk_bytes <= room / 2);
    assert_eq!(metrics(&smaller).chunks, files(folder.path()).len());
}

/// What a relay answers over a circuit, to those who keep to the rules and to others.
#[cfg(feature = "testnet")]
mod served {
    use std::sync::Arc;

    use zmesh_fec::chunk::SYMBOL_LEN;
    use zmesh_proto::link::{LinkConfig, LocalIdentity};
    use zmesh_proto::node::NodeConfig;
    use zmesh_proto::seeding::fetch::Refusal;
    use zmesh_proto::seeding::{SYMBOLS_MAX, SymbolRun};
    use zmesh_proto::wire::request::Failure;

    use super::super::seeder::{KeepError, Kept, SeederCircuit, Way};
    use super::*;
    use crate::egress::EgressError;
    use crate::origin::{Choosing, Origin};
    use crate::testnet::{Testnet, TestnetConfig};
    use crate::{PathSpec, clock, entropy, shard};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_relay_that_is_no_exit_answers_about_chunks_and_keeps_its_bounds() {
        let folder = tempfile::tempdir().expect("a directory");
        let config = TestnetConfig { chunks: Some(folder.path().to_owned()), ..TestnetConfig::default() };
        let testnet = Testnet::start(config).await.expect("a network");
        let network = testnet.network();
        let link = LinkConfig::new(LocalIdentity::Anonymous);
        let config = NodeConfig::new(link, entropy::seed(), clock::unix_nanos());
        let started = shard::start("zmesh-test", vec![], config, Some(Arc::clone(&network)), || Ok(()), |_| {}).await;
        let started = started.expect("a shard");
        let origin =
            Origin::start(Arc::clone(&started.shard), network, PathSpec::exit(), 0, false, Choosing::default());
        let (relay, handle) = testnet.relays().next().expect("the first relay is no exit");
        let way = Way { hops: 2, me: None };
        let circuit = SeederCircuit::open(&origin, relay, way, &[]).await.expect("a circuit");

        let refused = circuit.channel().connect(&("127.0.0.1", 80).into()).await.err().expect("it is no exit");
        assert_eq!(refused.egress(), Some(EgressError::Unsupported));
        let (note, bytes) = chunk(9, Class::Note);
        let wanted = SymbolRun { chunk: note, first: 1, count: 6 };
        assert_eq!(circuit.symbols(wanted).await, Err(Refusal::Absent));
        let wrong = circuit.keep(note, &vec![0; bytes.len()]).await;
        assert!(matches!(wrong, Err(KeepError::Refused(Failure::Mismatch))), "{wrong:?}");
        let short = circuit.keep(note, &bytes[..100]).await;
        assert!(matches!(short, Err(KeepError::Refused(Failure::Mismatch))), "{short:?}");
        let long = circuit.keep(note, &[&bytes[..], &bytes[..]].concat()).await;
        assert!(long.is_err(), "{long:?}");
        assert_eq!(handle.metrics().await.expect("it runs").chunks.chunks, 0);
        assert_eq!(circuit.keep(note, &bytes).await.expect("taken"), Kept::Stored);
        assert_eq!(circuit.keep(note, &bytes).await.expect("held"), Kept::Held);
        assert_eq!(circuit.symbols(wanted).await.expect("given").len(), 6 * SYMBOL_LEN);
        let most = SymbolRun { count: SYMBOLS_MAX, ..wanted };
        assert_eq!(circuit.symbols(most).await.expect("given").len(), usize::from(SYMBOLS_MAX) * SYMBOL_LEN);

        // One circuit leaves its share, and then no more: a quarter of a quarter of the room.
        let mut taken = 0;
        let refused = loop {
            let mut bytes = vec![0; Class::Full.len()];
            bytes[..8].copy_from_slice(&u64::to_be_bytes(taken));
            let id = ChunkId::of(&bytes);
            let full = ChunkRef { id, shelf: id.shelf(), class: Class::Full };
            match circuit.keep(full, &bytes).await {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, KeepError::Refused(Failure::Full)), "{refused:?}");
        // The note counts too, unless another relay has asked for it by now.
        let cost = 256 * 1024 + 4096;
        assert!([(16 << 20) / cost, ((16 << 20) - 8192) / cost].contains(&taken), "{taken}");
        drop(circuit);
        started.shutdown().await;
        testnet.shutdown().await;
    }
}
