// SPDX-License-Identifier: Apache-2.0
#![no_main]

use hostwrit::source::HashKind;
use hostwrit::source::wire::{self, Answer, Request};

// The first byte is the tag of a frame, and of a stream of frames.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((tag, body)) = data.split_first() {
        if let Ok(answer) = Answer::parse(*tag, body.to_vec(), HashKind::Sha1) {
            let bytes = answer.to_bytes();
            let frame = wire::read_frame(&mut bytes.as_slice(), bytes.len()).unwrap().unwrap();
            assert!(Answer::parse(frame.0, frame.1, HashKind::Sha1).is_ok());
        }
        if let Ok(request) = Request::parse(*tag, body) {
            let bytes = request.to_bytes();
            let frame = wire::read_frame(&mut bytes.as_slice(), bytes.len()).unwrap().unwrap();
            assert_eq!(Request::parse(frame.0, &frame.1).unwrap(), request);
        }
    }
    let mut stream = data;
    while let Ok(Some(_)) = wire::read_frame(&mut stream, 1024) {}
});
