#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = adapter_haproxy::testing::decoders::stats_csv(data);
});
