use super::wav::{WavError, WavOutput, read_wav, write_wav};
use super::*;
use hound::{SampleFormat, WavSpec, WavWriter};
use std::path::Path;

fn write_other(path: &Path, rate: u32, channels: u16, bits: u16, float: bool) {
    let sample_format = if float { SampleFormat::Float } else { SampleFormat::Int };
    let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format };
    let mut writer = WavWriter::create(path, spec).unwrap();
    for _ in 0..channels {
        if float { writer.write_sample(0.0_f32).unwrap() } else { writer.write_sample(0_i16).unwrap() }
    }
    writer.finalize().unwrap();
}

#[test]
fn the_shipped_sample_is_what_a_call_needs() {
    let samples = wav::decode_wav(crate::SPEECH_WAV, Path::new("speech.wav")).unwrap();
    assert_eq!(samples.len(), 12 * 48_000);
    let mut meter = crate::media::level::Meter::new();
    meter.listen(&samples);
    assert!((-35.0..-15.0).contains(&meter.take()));
}

#[test]
fn a_wav_of_another_format_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.wav");
    for (rate, channels, bits, float, words) in [
        (44_100, 1, 16, false, "44100 Hz, mono, 16-bit PCM"),
        (48_000, 2, 16, false, "48000 Hz, stereo, 16-bit PCM"),
        (48_000, 6, 16, false, "48000 Hz, 6 channels, 16-bit PCM"),
        (48_000, 1, 24, false, "48000 Hz, mono, 24-bit PCM"),
        (48_000, 1, 32, true, "48000 Hz, mono, 32-bit float"),
    ] {
        write_other(&path, rate, channels, bits, float);
        let error = Input::wav(&path, AtEnd::Silence).unwrap_err();
        assert!(matches!(error, AudioError::Wav(WavError::Format { .. })), "{error}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("sox ") && text.contains("-r 48000 -c 1 -b 16"), "{text}");
    }
}

#[test]
fn what_is_no_wav_is_said_plainly() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.wav");
    assert!(matches!(read_wav(&missing), Err(WavError::Read { .. })));
    let path = dir.path().join("bad.wav");
    for bytes in [b"".as_slice(), b"RIFF", b"not a wav file at all, just some text", &crate::SPEECH_WAV[..30]] {
        std::fs::write(&path, bytes).unwrap();
        let error = read_wav(&path).unwrap_err();
        assert!(matches!(error, WavError::NotWav { .. }), "{error:?}");
    }
    std::fs::write(&path, &crate::SPEECH_WAV[..1_000]).unwrap();
    assert!(read_wav(&path).is_err(), "cut off in the middle");
}

#[test]
fn a_recording_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.wav");
    let part = dir.path().join("out.wav.part");
    let mut output = WavOutput::create(&path).unwrap();
    output.write(&tone::sine(440.0, 0.5, 48_000)).unwrap();
    assert!(!path.exists());
    // A program killed now leaves a file that can be played.
    assert_eq!(read_wav(&part).unwrap().len(), 48_000);
    output.write(&[1, 2, 3]).unwrap();
    output.finish().unwrap();
    assert!(!part.exists());
    assert_eq!(read_wav(&path).unwrap().len(), 48_003);

    // Dropped by an error: what was recorded stays, nothing leaves nothing.
    let kept = dir.path().join("kept.wav");
    let mut output = WavOutput::create(&kept).unwrap();
    output.write(&[5; 10]).unwrap();
    drop(output);
    assert_eq!(read_wav(&kept).unwrap(), [5; 10]);
    let nothing = dir.path().join("nothing.wav");
    drop(WavOutput::create(&nothing).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);

    assert!(matches!(WavOutput::create(dir.path()), Err(WavError::Write { .. })));
    // A file of somebody's is not written over; a recording may be.
    let letter = dir.path().join("letter.txt");
    std::fs::write(&letter, "dear").unwrap();
    assert!(matches!(WavOutput::create(&letter), Err(WavError::Write { .. })));
    assert_eq!(std::fs::read(&letter).unwrap(), b"dear");
    drop(WavOutput::create(&kept).unwrap());
    assert!(matches!(WavOutput::create(&dir.path().join("no/such/dir.wav")), Err(WavError::Write { .. })));
}

#[test]
fn a_recording_ends_in_one_of_three_ways() {
    let samples: Vec<i16> = (1..=1_000).collect();
    let mut pcm = SILENCE;
    let mut input = Input::recording(samples.clone(), AtEnd::Silence);
    assert!(input.read(&mut pcm) && input.read(&mut pcm));
    assert_eq!((pcm[39], pcm[40], pcm[959]), (1_000, 0, 0));
    assert!(input.read(&mut pcm));

    let mut input = Input::recording(samples.clone(), AtEnd::Repeat);
    assert!(input.read(&mut pcm) && input.read(&mut pcm));
    assert_eq!((pcm[39], pcm[40]), (1_000, 1));

    let mut input = Input::recording(samples, AtEnd::HangUp);
    assert!(input.read(&mut pcm) && input.read(&mut pcm) && !input.read(&mut pcm));
    for at_end in [AtEnd::Silence, AtEnd::Repeat] {
        assert!(Input::recording(Vec::new(), at_end).read(&mut pcm));
        assert_eq!(pcm, SILENCE);
    }
}

#[test]
fn without_a_device_the_error_says_what_to_do() {
    // On a machine with sound these open; either way nothing panics.
    let wanted = Wanted::default_device;
    for error in [Input::microphone(wanted()).err(), Output::loudspeaker(wanted()).err()].into_iter().flatten() {
        let text = error.to_string();
        assert!(text.contains("--input") || text.contains("--output") || text.contains("cannot be used"), "{text}");
    }
}

#[test]
fn written_files_read_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tone.wav");
    let sound = tone::chirps(24_000, 100_000);
    write_wav(&path, &sound).unwrap();
    assert_eq!(read_wav(&path).unwrap(), sound);
}

#[test]
fn processing_stands_between_the_device_and_the_call() {
    use crate::process::{Settings, Talk, gate::TalkKey};
    let key = TalkKey::new();
    let settings = Settings { talk: Talk::Key(key.clone()), ..Settings::nothing() };
    let sound = tone::sine(440.0, 0.5, 9_600);
    let mut ends = AudioEnds::new(Input::recording(sound.clone(), AtEnd::HangUp), Output::Discard).processed(settings);
    let mut pcm = SILENCE;
    assert!(ends.read(&mut pcm) && pcm.iter().all(|sample| sample.abs() < 20), "the key is off");
    key.set(true);
    assert!(ends.read(&mut pcm) && ends.read(&mut pcm));
    assert_eq!(pcm, sound[1_920..2_880], "and on, the ramp over");
}

#[test]
fn mouth_and_ear_can_be_set_apart_and_are_kept() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ends = AudioEnds::new(Input::recording(vec![5; 960], AtEnd::HangUp), Output::Memory(Arc::clone(&heard)));
    let (mut mouth, mut ear, kept) = ends.apart();
    let mut pcm = SILENCE;
    assert!(mouth.read(&mut pcm) && pcm == [5; 960] && !mouth.read(&mut pcm));
    assert!(ear.read(&mut pcm) && pcm == SILENCE, "the ear says nothing, without an end");
    ear.write(&[7; 100]).unwrap();
    mouth.write(&[9; 100]).unwrap();
    assert_eq!(*heard.lock().unwrap(), [7; 100], "the mouth hears nothing");
    let (input, output) = kept.take();
    assert_eq!((input.len(), &output[..]), (1_920, &[7; 100][..]));
    assert!(kept.level_dbfs() < -70.0 && kept.delay().is_zero());

    let ends = AudioEnds::new(Input::recording(tone::sine(440.0, 0.5, 96_000), AtEnd::Silence), Output::Discard);
    let (mut mouth, _, kept) = ends.processed(crate::process::Settings::default()).apart();
    for _ in 0..100 {
        mouth.read(&mut pcm);
    }
    assert!((kept.level_dbfs() + 9.0).abs() < 0.5, "before processing: {}", kept.level_dbfs());
    assert_eq!(kept.take().0[95_040..], pcm, "after it");
    assert!(kept.delay() > std::time::Duration::from_millis(10));
}
