//! An ext4 whose every block write is recorded: qemu-storage-daemon exports an image by FUSE as a file, through its
//! blklogwrites driver; the kernel mounts that file by a loop device, whose flushes come through as FUSE's fsync.

use super::blklog::{self, Log};
use super::support::{self, PATIENCE};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Octets of the disk.
pub const DISK: u64 = 44 << 20;

/// A mounted file system.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts the ext4 in a file, by a loop device that goes with the mount.
    pub fn new(image: &Path, at: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&at).map_err(|e| e.to_string())?;
        run(support::program("mount", "mount")
            .args(["-t", "ext4", "-o", "loop,nodiscard"])
            .args([image, &at]))?;
        Ok(Self(at))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Gives up the mount; all that is dirty is written.
    #[track_caller]
    pub fn end(self) {
        // A killed process may hold its files for a moment yet.
        support::until("the unmounting", || self.unmount().ok());
        std::mem::forget(self);
    }

    fn unmount(&self) -> Result<(), String> {
        run(support::program("umount", "mount").arg(&self.0))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run(support::program("umount", "mount").arg("-l").arg(&self.0));
    }
}

/// The recording disk.
pub struct Recorder {
    daemon: Child,
    exported: PathBuf,
    log: PathBuf,
}

impl Recorder {
    /// Begins a disk in a folder.
    ///
    /// # Errors
    /// What this machine lacks for it.
    pub fn start(folder: &Path) -> Result<Self, String> {
        let open = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        open.map_err(|problem| format!("/dev/fuse: {problem}"))?;
        let path = |name: &str| folder.join(name);
        let [image, log, exported] = [path("disk"), path("log"), path("exported")];
        for (file, octets) in [(&image, DISK), (&log, 8 * DISK), (&exported, 0)] {
            let made = File::create(file).and_then(|file| file.set_len(octets));
            made.map_err(|problem| format!("{}: {problem}", file.display()))?;
        }
        let daemon = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &blockdev("disk", &image)])
            .args(["--blockdev", &blockdev("log", &log)])
            .args(["--blockdev", "driver=blklogwrites,node-name=both,file=disk,log=log,log-sector-size=512,log-super-update-interval=4096"])
            .arg("--export")
            .arg(format!("type=fuse,id=disk,node-name=both,mountpoint={},writable=on,growable=off", exported.display()))
            .stdin(Stdio::null())
            .spawn()
            .map_err(|problem| format!("qemu-storage-daemon (Debian's qemu-utils): {problem}"))?;
        let mut recorder = Self {
            daemon,
            exported,
            log,
        };
        recorder.wait_export()?;
        // Without checksums of metadata: the superblock lies in two sectors, and one torn between them would not be mounted.
        // That is between ext4 and the disk.
        run(support::program("mkfs.ext4", "e2fsprogs")
            .args(["-O", "^metadata_csum"])
            .args(["-qF", "-b", "4096", "-J", "size=4", "-m", "0", "-E"])
            .arg("lazy_itable_init=0,lazy_journal_init=0,nodiscard")
            .arg(&recorder.exported))?;
        Ok(recorder)
    }

    fn wait_export(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while fs::metadata(&self.exported).is_ok_and(|file| file.len() != DISK) {
            if let Ok(Some(status)) = self.daemon.try_wait() {
                return Err(format!("qemu-storage-daemon's FUSE export: {status}"));
            }
            if start.elapsed() > PATIENCE {
                return Err("no FUSE export from qemu-storage-daemon".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn mount(&self, at: PathBuf) -> Result<Mount, String> {
        Mount::new(&self.exported, at)
    }

    /// How many entries the log had at the last flush.
    pub fn counter(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let log = File::open(&self.log).expect("the log");
        move || blklog::count(&log)
    }

    /// Ends the recording.
    #[track_caller]
    pub fn end(mut self) -> Log {
        self.terminate();
        Log::read(&self.log)
    }

    fn terminate(&mut self) {
        let pid = self.daemon.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.daemon.wait();
    }

    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if matches!(self.daemon.try_wait(), Ok(None)) {
            self.terminate();
        }
    }
}

fn blockdev(name: &str, file: &Path) -> String {
    format!(
        "driver=file,node-name={name},filename={},discard=ignore",
        file.display()
    )
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = support::said(&output);
    Err(format!("{command:?}: {}", said.trim()))
}
