//! Somebody sits at a terminal.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::Stdio,
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use test_support::PATIENCE;
use tokio::{task::spawn_blocking, time::timeout};

use crate::harness::{System, command};

/// Runs the program at a terminal that is `columns` wide, with `typed` on its keyboard: the exit code, and all that is to be seen.
async fn at_a_terminal(
    url: &str,
    arguments: &[&str],
    typed: &'static str,
    columns: u16,
) -> (i32, String) {
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&keyboard).unwrap();
    unlockpt(&keyboard).unwrap();
    let name = ptsname(&keyboard, Vec::new()).unwrap();
    let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let size = Winsize {
        ws_row: 50,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let side = |terminal: &OwnedFd| Stdio::from(terminal.try_clone().unwrap());
    let mut command = command(url, arguments);
    command.env("TERM", "xterm");
    command
        .stdin(side(&terminal))
        .stdout(side(&terminal))
        .stderr(side(&terminal));
    let mut child = command.spawn().unwrap();
    drop((command, terminal));
    let mut screen = File::from(keyboard);
    screen.write_all(typed.as_bytes()).unwrap();
    let seen = spawn_blocking(move || {
        let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
        // At the end of the program, Linux says that there was an error.
        while let Ok(count @ 1..) = screen.read(&mut piece) {
            seen.extend_from_slice(&piece[..count]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    let ended = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    (ended.code().unwrap(), seen.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_no_has_done_nothing_and_who_says_yes_has() {
    let system = System::alone().await;
    let saga = system.place("prod-1", 1).await;
    let abort = ["abort", saga.as_str(), "--reason", "a test"];
    let path = format!("/sagas/{saga}");
    for no in ["n\n", "\n", "maybe\n", "\u{4}"] {
        let (code, seen) = at_a_terminal(&system.url, &abort, no, 80).await;
        assert_eq!(code, 1, "{seen}");
        assert!(seen.contains("payment.refund.v1 to payment"), "{seen}");
        assert!(seen.contains("nothing was done"), "{seen}");
        assert_eq!(system.get(&path).await["version"], 2);
    }
    let (code, seen) = at_a_terminal(&system.url, &abort, "yes\n", 80).await;
    assert_eq!(code, 0, "{seen}");
    assert!(
        seen.contains(&format!("abort saga {saga}? [y/N]")),
        "{seen}"
    );
    assert_eq!(system.get(&path).await["status"], "COMPENSATING");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_fit_and_have_colours() {
    let system = System::whole().await;
    let saga = system.place("prod-1", 1000).await;
    system.until(&saga, "COMPENSATED").await;
    let (_, seen) = at_a_terminal(&system.url, &["ls"], "", 130).await;
    assert!(seen.contains("\u{1b}[33mCOMPENSATED"), "{seen}");
    let (_, seen) = at_a_terminal(&system.url, &["ls", "--color", "never"], "", 130).await;
    assert!(
        seen.lines()
            .all(|line| line.trim_end().chars().count() <= 130),
        "{seen}"
    );
    assert!(seen.contains('…'), "{seen}");
    system.stop().await;
}
