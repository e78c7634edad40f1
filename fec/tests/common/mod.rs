//! Makes `specs/vectors/fec.json`.

use serde_json::{Value, json};
use zmesh_fec::{Decoder, Encoder, SYMBOL_LEN, Symbol, Vector, WindowUpdate, field, planes};

/// Symbol `number` of the vectors.
fn symbol(number: usize) -> Symbol {
    std::array::from_fn(|i| (i * i + (2 * number + 1) * i + 31 * number + i / 64).to_le_bytes()[0])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole document.
#[must_use]
pub(crate) fn document() -> Value {
    json!({
        "about": "specs/fec.md; check.py follows it",
        "products": products(),
        "symbol_products": symbol_products(),
        "coefficients": coefficients(),
        "window_updates": window_updates(),
        "exchange": exchange(),
    })
}

fn products() -> Vec<[u8; 3]> {
    [(0x80, 0x02), (0xff, 0xff), (0x53, 0xca), (0x01, 0x7e), (0x00, 0x99)]
        .map(|(a, b)| [a, b, field::mul(a, b)])
        .to_vec()
}

fn symbol_products() -> Vec<Value> {
    let make = |coefficient| {
        let mut product = symbol(3);
        planes::scale(&mut product, coefficient);
        json!({ "symbol": hex(&symbol(3)), "coefficient": coefficient, "product": hex(&product) })
    };
    [2, 0x1d, 0xa7].map(make).to_vec()
}

fn coefficients() -> Vec<Value> {
    let make = |(first, mask, seed)| {
        let vector = Vector::new(first, mask, seed).expect("a vector");
        let ids: Vec<u16> = vector.offsets().map(|offset| first.wrapping_add(offset)).collect();
        let of: Vec<u8> = ids.iter().map(|id| vector.coefficient(*id)).collect();
        json!({ "vector": hex(&vector.encode()), "ids": ids, "coefficients": of })
    };
    [(0, 1, 0), (65_530, 0xffff, 191), (300, 0x8000_0000_0000_0001, 77)].map(make).to_vec()
}

fn window_updates() -> Vec<Value> {
    let make = |(first, held)| {
        let update = WindowUpdate { first, held };
        let ids = [0u16, 1, 2, 5, 63, 64, 65, 66, 32_767, 32_768, 65_535].map(|ahead| update.first.wrapping_add(ahead));
        let done: Vec<u16> = ids.into_iter().filter(|id| update.is_done(*id)).collect();
        json!({ "update": hex(&update.encode()), "asked": ids, "done": done })
    };
    [(9, 0), (65_533, 0x8000_0000_0000_0013)].map(make).to_vec()
}

/// A sender whose ids wrap, and a receiver that gets some of what it sends.
fn exchange() -> Value {
    let mut encoder = Encoder::starting_at(u64::MAX, 65_533);
    let mut decoder = Decoder::new(u64::MAX);
    let mut datagrams = Vec::new();
    let mut number = 0;
    let mut send = |encoder: &mut Encoder, datagrams: &mut Vec<(Option<Vector>, u16, Symbol)>| {
        let symbol = symbol(number);
        number += 1;
        let id = encoder.push(0, &symbol);
        datagrams.push((None, id, symbol));
    };
    let repair = |encoder: &mut Encoder, datagrams: &mut Vec<(Option<Vector>, u16, Symbol)>| {
        let mut symbol = [0; SYMBOL_LEN];
        let vector = encoder.repair(0, &mut symbol);
        datagrams.push((vector, 0, symbol));
    };
    (0..4).for_each(|_| send(&mut encoder, &mut datagrams));
    repair(&mut encoder, &mut datagrams);
    send(&mut encoder, &mut datagrams);
    encoder.acknowledge(65_533);
    encoder.acknowledge(0);
    repair(&mut encoder, &mut datagrams);
    send(&mut encoder, &mut datagrams);
    repair(&mut encoder, &mut datagrams);
    repair(&mut encoder, &mut datagrams);

    // By place: 1, 2 and 5 (ids 65,534, 65,535 and 1) are lost, and so is the second repair; 7 comes late.
    let lost = [1, 2, 5, 6];
    let mut order: Vec<usize> = (0..datagrams.len()).filter(|place| !lost.contains(place) && *place != 7).collect();
    order.insert(order.len() - 1, 7);
    let arrivals: Vec<Value> = order
        .into_iter()
        .map(|place| {
            let (vector, id, symbol) = &datagrams[place];
            let new = match vector {
                Some(vector) => {
                    decoder.repair(0, vector, symbol);
                    None
                }
                None => Some(decoder.source(0, *id, symbol)),
            };
            let recovered: Vec<Value> = std::iter::from_fn(|| decoder.poll())
                .map(|(id, symbol)| json!({ "id": id, "symbol": hex(&symbol) }))
                .collect();
            json!({ "datagram": place, "new": new, "recovered": recovered })
        })
        .collect();
    let datagrams: Vec<Value> = datagrams
        .iter()
        .map(|(vector, id, symbol)| match vector {
            Some(vector) => json!({ "vector": hex(&vector.encode()), "symbol": hex(symbol) }),
            None => json!({ "id": id, "symbol": hex(symbol) }),
        })
        .collect();
    json!({ "sent": datagrams, "arrivals": arrivals })
}
