//! A small disk of its own for one test: a tmpfs that can really be full, in a mount namespace that nobody else sees.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::folder::Folder;
use crate::say;

/// A disk. It is gone with the process that holds its namespace, which ends when its standard input closes: when the value
/// is dropped, and also when this process ends in whatever way.
#[derive(Debug)]
pub struct Disk {
    holder: Child,
    folder: Folder,
}

impl Disk {
    /// Mounts a disk of so many KiB. None where this user may not mount one (most are not root, and many a build server's
    /// containers may not): the test is then skipped, which is printed, and is no failure even on a build server.
    pub fn new(kibibytes: u64) -> Option<Disk> {
        const HOLD: &str = r#"mount -t tmpfs -o "size=$1k" tmpfs "$2" && echo mounted && read -r _"#;
        let folder = Folder::new("disk");
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", HOLD, "disk", &kibibytes.to_string()])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let read = BufReader::new(holder.stdout.take()?).read_line(&mut line);
        if read.is_err() || line != "mounted\n" {
            let _ended = holder.wait();
            say("skipped: this user may not mount a disk");
            return None;
        }
        Some(Disk { holder, folder })
    }

    /// Where it is for what [`Disk::within`] starts.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Where it is for the test.
    pub fn seen(&self) -> PathBuf {
        let within = self.path();
        let within = within.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(within)
    }

    /// A command that sees the disk.
    pub fn within(&self, command: &Command) -> Command {
        let mut within = Command::new("nsenter");
        within.args(["--mount", "--target", &self.holder.id().to_string()]);
        // Whoever enters finds himself at the root.
        let folder = command.get_current_dir().map_or_else(|| PathBuf::from("/"), PathBuf::from);
        within.args(["sh", "-c", r#"cd "$1" && shift && exec "$@""#, "within"]).arg(folder);
        within.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            within.current_dir(folder);
        }
        within
    }

    /// Makes it so many KiB large.
    pub fn resize(&self, kibibytes: u64) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={kibibytes}k")]).arg(self.folder.path());
        assert!(self.within(&mount).status().expect("mount").success(), "another size");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ended = self.holder.wait();
    }
}
