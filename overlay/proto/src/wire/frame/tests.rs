use super::*;
use crate::wire::datagram::{L_PLAIN, S_PLAIN};
use proptest::prelude::*;

const PACKET: [u8; SETUP_PACKET_LEN] = [3; SETUP_PACKET_LEN];
const REPLY: [u8; SETUP_REPLY_LEN] = [4; SETUP_REPLY_LEN];
const CELL: [u8; CELL_LEN] = [5; CELL_LEN];
static DESCRIPTOR: [u8; 2_500] = [6; 2_500];

fn parts() -> &'static document::DocParts {
    static PARTS: std::sync::OnceLock<document::DocParts> = std::sync::OnceLock::new();
    PARTS.get_or_init(|| document::DocParts::cut(&DESCRIPTOR, 9))
}

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
        (0..PARTS_MAX).prop_map(|part| Frame::DocGet { part }),
        (0u8..3).prop_map(|part| Frame::DocPart(parts().part(part).expect("three parts"))),
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
    fn any_bytes_end_in_frames_or_one_error(bytes in proptest::collection::vec(0u8..24, 0..1300)) {
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

#[test]
fn a_descriptor_comes_back_in_parts_of_which_none_is_longer_than_its_request() {
    let mut whole = Vec::new();
    for part in 0..3 {
        let mut plain = [0xff; L_PLAIN];
        let mut writer = FrameWriter::new(&mut plain);
        assert!(writer.push(&Frame::DocGet { part }));
        let asked = L_PLAIN - writer.room();
        assert!(asked > S_PLAIN, "a request fits no short datagram");
        assert!(!writer.push(&Frame::DocGet { part }), "nor do two fit one datagram");
        assert!(writer.feedback(&Feedback::default()) && writer.push(&Frame::Ack { through: 1, beyond: 2 }));
        let mut writer = FrameWriter::new(&mut plain);
        assert!(writer.push(&Frame::DocPart(parts().part(part).expect("three parts"))));
        assert_eq!(L_PLAIN - writer.room(), asked);
        writer.pad();
        let Some(Ok(Frame::DocPart(read))) = Frames::new(&plain).next() else { panic!("a part") };
        assert_eq!((read.part(), read.whole_len(), read.tag()), (part, DESCRIPTOR.len(), 9));
        whole.extend_from_slice(read.bytes());
    }
    assert_eq!(whole, DESCRIPTOR);
    assert!(parts().part(3).is_none());
    let nothing = document::DocParts::cut(&[], 9);
    assert_eq!(nothing.part(0).expect("says so").whole_len(), 0);
    assert!(nothing.part(1).is_none());
}

#[test]
fn parts_that_cannot_be_are_refused() {
    let first = |bytes: &[u8]| Frames::new(bytes).next().expect("a frame").err();
    let frame = |kind: u8, head: &[u8]| {
        let mut bytes = vec![0; 1_032];
        bytes[0] = kind;
        bytes[1..=head.len()].copy_from_slice(head);
        bytes
    };
    assert_eq!(first(&frame(DOC_GET, &[5])), None);
    for bad in [frame(DOC_GET, &[6]), frame(DOC_GET, &[0, 1])] {
        assert_eq!(first(&bad), Some(FrameError::Document));
    }
    assert_eq!(first(&frame(DOC_PART, &[0, 0, 3, 0, 0, 0, 9, 1, 1, 1])), None);
    let long = [frame(DOC_PART, &[0, 0x18, 1]), frame(DOC_PART, &[1, 4, 0]), frame(DOC_PART, &[1, 0, 0])];
    for bad in long.into_iter().chain([frame(DOC_PART, &[0, 0, 2, 0, 0, 0, 9, 1, 1, 1])]) {
        assert_eq!(first(&bad), Some(FrameError::Document));
    }
    assert_eq!(first(&frame(DOC_PART, &[0, 0, 2])[..1_031]), Some(FrameError::Truncated));
}
