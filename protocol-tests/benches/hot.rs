//! What the hot path costs: `cargo bench`, in time, and `protocol-tests/benches/count`, in instructions.
//!
//! Time shows what a change gains on a quiet machine; instructions show a regression on any.

#![expect(clippy::expect_used, reason = "what goes wrong here is a mistake in here")]

mod work;

use criterion::{Criterion, Throughput};
use work::OPERATIONS;

/// Calls before those that count: caches are warm, buffers have grown.
const WARM: u64 = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--names") => {
            for operation in OPERATIONS {
                println!("{}\t{}", operation.units, operation.name);
            }
        }
        Some("--calls") => call(&arguments),
        _ => measure(),
    }
}

/// `--calls N NAME`: sets NAME up, calls it N times, and nothing else. For callgrind.
fn call(arguments: &[String]) {
    let [_, calls, name] = arguments else {
        panic!("--calls N NAME");
    };
    let operation = OPERATIONS.iter().find(|operation| operation.name == name);
    let calls: u64 = calls.parse().expect("a number");
    let mut run = operation.expect("one of --names").make();
    for _ in 0..WARM + calls {
        run();
    }
    // What is torn down is not part of it, and takes long where much was set up.
    std::process::exit(0);
}

fn measure() {
    let mut criterion = Criterion::default().configure_from_args();
    for operation in OPERATIONS {
        let mut group = criterion.benchmark_group("hot");
        group.throughput(Throughput::Elements(operation.units));
        let mut run = None;
        group.bench_function(operation.name, |bencher| {
            // Criterion asks only for those that its filter lets through, and more than once.
            let run = run.get_or_insert_with(|| operation.make());
            bencher.iter(run);
        });
        group.finish();
    }
    criterion.final_summary();
}
