//! Questions and answers between directory nodes are read or refused, and come back as they were written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zmesh_control::directory::{Answer, Question};

fuzz_target!(|data: &[u8]| {
    if let Ok(question) = Question::decode(data) {
        assert_eq!(Question::decode(&question.encode()), Ok(question));
    }
    if let Ok(answer) = Answer::decode(data) {
        assert_eq!(Answer::decode(&answer.clone().encode()), Ok(answer));
    }
});
