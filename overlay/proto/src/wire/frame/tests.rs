use super::*;
use crate::wire::datagram::{L_PLAIN, S_PLAIN};
use proptest::prelude::*;

const PACKET: [u8; SETUP_PACKET_LEN] = [3; SETUP_PACKET_LEN];
const REPLY: [u8; SETUP_REPLY_LEN] = [4; SETUP_REPLY_LEN];
const CELL: [u8; CELL_LEN] = [5; CELL_LEN];

fn feedback() -> impl Strategy<Value = Feedback> {
    (any::<u32>(), any::<u16>(), any::<u32>(), any::<u16>(), any::<u128>()).prop_map(
        |(highest, received, arrived, delay, bitmap)| Feedback {
            highest,
            received,
            arrived,
            delay,
            bitmap: bitmap & ((1 << FEEDBACK_BITS) - 1),
        },
    )
}

fn frame() -> impl Strategy<Value = Frame<'static>> {
    prop_oneof![
        Just(Frame::Cells1(&CELL)),
        Just(Frame::Cells2(&CELL, &CELL)),
        feedback().prop_map(Frame::Feedback),
        any::<u32>().prop_map(Frame::Ping),
        any::<u32>().prop_map(Frame::Pong),
        any::<(u32, u32)>().prop_map(|(id, circuit)| Frame::Setup { id, circuit, packet: &PACKET }),
        any::<(u32, u32)>().prop_map(|(id, circuit)| Frame::SetupReply { id, circuit, reply: &REPLY }),
        any::<(u32, u32, u8)>().prop_map(|(id, circuit, reason)| Frame::Destroy { id, circuit, reason }),
        any::<(u32, u64)>().prop_map(|(through, beyond)| Frame::Ack { through, beyond }),
        any::<u8>().prop_map(|reason| Frame::Close { reason }),
        any::<u16>().prop_map(|id| Frame::Source { id, cell: &CELL }),
        (any::<u16>(), any::<u64>(), 0..zmesh_fec::vector::SEEDS).prop_map(|(first, mask, seed)| {
            Frame::Repair { vector: Vector::new(first, mask | 1, seed).expect("well-formed"), symbol: &CELL }
        }),
        any::<(u16, bool)>()
            .prop_map(|(back, two)| { Frame::Again { back, first: &CELL, second: two.then_some(&CELL) } }),
    ]
}

proptest! {
    #[test]
    fn frames_read_back_in_order(frames in proptest::collection::vec(frame(), 0..12)) {
        let mut plain = [0xff; L_PLAIN];
        let mut writer = FrameWriter::new(&mut plain);
        let written: Vec<_> = frames.into_iter().filter(|frame| writer.push(frame)).collect();
        writer.pad();
        let read: Result<Vec<_>, _> = Frames::new(&plain).collect();
        prop_assert_eq!(read, Ok(written));
    }

    #[test]
    fn any_bytes_end_in_frames_or_one_error(bytes in proptest::collection::vec(0u8..16, 0..1300)) {
        let mut errors = 0;
        for (step, frame) in Frames::new(&bytes).enumerate() {
            prop_assert!(step <= bytes.len() && errors == 0, "an error is the last item");
            errors += usize::from(frame.is_err());
        }
    }
}

#[test]
fn a_short_datagram_holds_a_cell_or_a_setup_and_feedback() {
    let setup = Frame::Setup { id: 1, circuit: 2, packet: &PACKET };
    let source = Frame::Source { id: 1, cell: &CELL };
    let again = Frame::Again { back: 1, first: &CELL, second: None };
    for first in [Frame::Cells1(&CELL), source, again, setup] {
        let mut plain = [0; S_PLAIN];
        let mut writer = FrameWriter::new(&mut plain);
        assert!(writer.push(&first) && writer.feedback(&Feedback::default()));
    }
    let mut plain = [0; L_PLAIN];
    let mut writer = FrameWriter::new(&mut plain);
    assert!(writer.push(&Frame::Cells2(&CELL, &CELL)) && writer.feedback(&Feedback::default()));
    assert!(writer.push(&Frame::Ack { through: 1, beyond: 2 }));
    assert!(!writer.push(&setup), "a set-up does not fit beside two cells");
    let repair = Frame::Repair { vector: Vector::new(1, 1, 1).expect("well-formed"), symbol: &CELL };
    let long = [[source, repair], [source, source], [source, again], [again, Frame::Cells1(&CELL)]];
    for [first, second] in long {
        let mut plain = [0; L_PLAIN];
        let mut writer = FrameWriter::new(&mut plain);
        assert!(writer.push(&first) && writer.push(&second) && writer.feedback(&Feedback::default()));
    }
    let mut plain = [0; L_PLAIN];
    let mut writer = FrameWriter::new(&mut plain);
    assert!(writer.push(&Frame::Again { back: 1, first: &CELL, second: Some(&CELL) }));
    assert!(writer.feedback(&Feedback::default()));
    let mut plain = [0; S_PLAIN];
    assert!(FrameWriter::new(&mut plain).push(&repair), "a repair alone is short");
}

#[test]
fn unknown_types_cut_frames_and_dirty_padding_are_errors() {
    fn first(bytes: &[u8]) -> Option<Result<Frame<'_>, FrameError>> {
        Frames::new(bytes).next()
    }
    assert_eq!(first(&[15, 0, 0]), Some(Err(FrameError::Kind(15))));
    for cut in [SOURCE, AGAIN1, AGAIN2] {
        assert_eq!(first(&[&[cut], &[0; 511][..]].concat()), Some(Err(FrameError::Truncated)));
    }
    assert!(matches!(first(&[&[REPAIR], &[0; 523][..]].concat()), Some(Err(FrameError::Vector(_)))), "no first cell");
    assert_eq!(first(&[PING, 0, 0]), Some(Err(FrameError::Truncated)));
    assert_eq!(first(&[PAD, 0, 1]), Some(Err(FrameError::Padding)));
    assert_eq!(first(&[PAD, 0, 0]), None);
    assert_eq!(first(&[]), None);
}
