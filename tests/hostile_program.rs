//! What a hostile module can do to the program around it: to its log, its memory, its start.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::folder::Folder;
use harness::wait::{PATIENCE, until};

use crate::program::{Done, peak_bytes, trailhound};
use harness::guest::{FIRST, Guest, record};

/// A scan of one poisoned event with a module that does `evil`.
fn scan(evil: &str) -> Done {
    let folder = Folder::new("hostile");
    let module = folder.write("hostile.wasm", Guest::new("H").with("evil", evil).wasm());
    let input = folder.write("input.ndjson", record("e1", FIRST, "poison"));
    let mut command = trailhound();
    command.arg("scan").arg("--rules").arg(module).arg(input);
    command.output().expect("the program starts").into()
}

#[test]
fn a_flood_of_log_messages_is_a_trickle() {
    // Far more than may be written, each far longer than it may be.
    let flood = "(drop (memory.grow (i32.const 16)))
        (memory.fill (i32.const 0x20000) (i32.const 65) (i32.const 0x100000))
        (loop $next
          (call $log (i32.const 2) (i32.const 0x20000) (i32.const 0x80000))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $i) (i32.const 200))))";
    let done = scan(flood).well();
    let lines: Vec<&str> = done.stderr.lines().filter(|line| line.contains("AAAA")).collect();
    assert_eq!(lines.len(), 16);
    for line in lines {
        assert!(line.contains("hostile"), "the module's name: {line}");
        assert!(line.len() < 1_024 + 200, "{} bytes", line.len());
    }
    assert!(done.stderr.contains("1 received = 1 evaluated"), "{}", done.stderr);
    // What is dropped is said, after the last call too.
    let others: Vec<&str> = done.stderr.lines().filter(|line| !line.contains("AAAA")).collect();
    assert!(others.iter().any(|line| line.contains("184")), "{others:?}");
}

#[test]
fn a_log_message_cannot_pass_for_a_line_of_the_program() {
    // Messages hold texts of records, which whoever calls AWS writes.
    let text = "quiet\n2099-01-01T00:00:00Z ERROR forged\r2099-01-01 forged\u{1b}[2K\u{1b}]0;forged\u{7}\u{9b}2K";
    // It is put there byte by byte: the template has no data of a test's own.
    let mut code = String::from("(drop (memory.grow (i32.const 1)))");
    for (at, byte) in text.bytes().enumerate() {
        code += &format!("(i32.store8 (i32.const {}) (i32.const {byte}))", 0x2_0000 + at);
    }
    code += &format!("(call $log (i32.const 3) (i32.const 0x20000) (i32.const {}))", text.len());
    let done = scan(&code).well();
    assert!(done.stderr.contains("forged"), "the message is there: {}", done.stderr);
    for line in done.stderr.split(['\n', '\r']) {
        assert!(!line.starts_with("2099"), "a forged line: {:?}", done.stderr);
    }
    let control = |c: char| c.is_control() && c != '\n';
    assert!(!done.stderr.contains(control), "control characters reach the terminal: {:?}", done.stderr);
}

#[test]
fn answers_of_any_size_leave_the_programs_memory_small() {
    const PEAK_MAX: u64 = 200 << 20;
    // 100,000 hits, 500,000 labels and a text of 4 MB, all of them in the same place.
    let alias = "(drop (memory.grow (i32.const 128)))
        (global.set $hits (i32.const 0x200000)) (global.set $hits_len (i32.const 100000))
        (global.set $labels (i32.const 0x200000)) (global.set $labels_len (i32.const 500000))
        (global.set $texts (i32.const 0x200000)) (global.set $texts_len (i32.const 4000000))";
    let folder = Folder::new("hostile");
    let module = folder.write("hostile.wasm", Guest::new("H").with("evil", alias).wasm());
    let dead = folder.path().join("dead.ndjson");
    let mut command = trailhound();
    command.arg("scan").arg("--rules").arg(module).arg("--dead-letters").arg(&dead);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    // More than a batch, so that one is finished while the program waits for more.
    for number in 0..2_100 {
        writeln!(input, "{}", record(&format!("e{number}"), FIRST, "poison")).expect("it reads");
    }
    input.flush().expect("it reads");
    until(PATIENCE, "a batch of dead letters", || {
        (std::fs::read_to_string(&dead).unwrap_or_default().lines().count() >= 2_000).then_some(())
    });
    let peak = peak_bytes(child.id());
    drop(input);
    assert!(child.wait().expect("its end").success());
    harness::say(&format!("answers of 10 MB: at most {} MB of memory", peak >> 20));
    assert!(peak < PEAK_MAX, "{} MB", peak >> 20);
    let letters = std::fs::read_to_string(&dead).expect("dead letters");
    assert_eq!(letters.lines().count(), 2_100);
    assert!(letters.lines().all(|line| line.contains(r#""reason":"module_wrong_answer""#)));
}

/// Runs `scan --rules FOLDER` in 4 GB of address space and a minute, so that a host which takes too much fails alone.
fn confined(folder: &Path) -> Done {
    let scan = trailhound();
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -v 4194304; exec timeout 60 "$0" scan --rules "$1" </dev/null"#]);
    shell.arg(scan.get_program()).arg(folder);
    shell.output().expect("sh").into()
}

#[test]
fn the_size_of_a_file_is_looked_at_before_it_is_read() {
    let small = Folder::new("small");
    small.write("small.wasm", Guest::new("H").wasm());
    // No instance is made in so little address space, but everything up to there works.
    let control = confined(small.path());
    assert!(control.code == 0 || control.stderr.contains("refused at step `start`"), "{control:?}");

    let folder = Folder::new("huge");
    // Holes take no room on the disk.
    let file = std::fs::File::create(folder.path().join("huge.wasm")).expect("a file");
    file.set_len(8 << 30).expect("a file with a hole");
    let done = confined(folder.path());
    assert_eq!(done.code, 64, "{done:?}");
    assert!(done.stderr.contains("refused at step `size`"), "{}", done.stderr);
}

#[test]
fn components_within_components_do_not_multiply() {
    // Each instantiates the one before it twice: 2^26 instances in 2 KB.
    let mut bomb = String::from("(component $c0 (core module $m) (core instance (instantiate $m)))");
    for level in 1..=26 {
        let before = level - 1;
        bomb += &format!(
            "(component $c{level} (alias outer 1 $c{before} (component $x))
               (instance (instantiate $x)) (instance (instantiate $x)))"
        );
    }
    bomb += "(instance (instantiate $c26))";
    let folder = Folder::new("bomb");
    let wasm = Guest::new("H").with("imports", bomb).wasm();
    assert!(wasm.len() < 16 << 10);
    folder.write("bomb.wasm", wasm);
    let done = confined(folder.path());
    assert_eq!(done.code, 64, "the host did not survive it: {done:?}");
    assert!(done.stderr.contains("bomb.wasm: refused at step"), "{}", done.stderr);
}
