//! A prefork server whose program does not say Python: uWSGI, with threads, under load.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    panic,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use gilscope_tests::{
    Process, Running, Traced, Tracer, environment_with, need_root, python, until,
};

/// Some milliseconds of work a request.
const APPLICATION: &str = "
def application(environ, start_response):
    sum(i * i for i in range(50000))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'done']
";

struct Server {
    running: Running,
    address: String,
}

impl Server {
    /// uWSGI with two workers of four threads each; `None` where it cannot be had.
    fn start(folder: &Path) -> Option<Self> {
        let uwsgi = environment_with("uwsgi==2.0.31", Path::new(env!("CARGO_TARGET_TMPDIR")));
        let program = match uwsgi {
            Ok(bin) => bin.join("uwsgi"),
            Err(reason) => {
                println!("skipped: PyPI's uwsgi cannot be had (it needs gcc): {reason}");
                return None;
            }
        };
        let application = folder.join("application.py");
        fs::write(&application, APPLICATION).unwrap();
        let mut command = Command::new(program);
        command.args([
            "--http-socket",
            "127.0.0.1:0",
            "--master",
            "--processes",
            "2",
        ]);
        command.args([
            "--threads",
            "4",
            "--enable-threads",
            "--need-app",
            "--die-on-term",
        ]);
        command.arg("--wsgi-file").arg(application);
        let running = Running::start(&mut command);
        let bound = running.complains("bound to TCP address ");
        let address = bound.split("bound to TCP address ").nth(1).unwrap();
        let address = address.split_whitespace().next().unwrap().to_owned();
        let server = Self { running, address };
        until("an answer", || server.ask());
        Some(server)
    }

    /// One request.
    fn ask(&self) -> Option<()> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.ends_with("done").then_some(())
    }

    /// Traces it, or one of its processes, while eight clients ask as fast as they can and until they have had so many answers that all threads have given some.
    fn trace(&self, pid: u32, options: &[&str]) -> Traced {
        let (done, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        if self.ask().is_some() {
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            // Also if this fails: the clients would go on.
            let traced = panic::catch_unwind(|| {
                let tracer = Tracer::attach_with(&[pid], options);
                let before = answers.load(Ordering::Relaxed);
                until("answers", || {
                    (answers.load(Ordering::Relaxed) >= before + 100).then_some(())
                });
                tracer.finish()
            });
            done.store(true, Ordering::Relaxed);
            traced.unwrap_or_else(|error| panic::resume_unwind(error))
        })
    }
}

fn check(worker: &Process<'_>) {
    assert_eq!(worker.0["gils"][0]["python"], python().version.as_str());
    assert!(worker.gil_wait().number("count") > 0, "{worker:?}");
    let waiting = worker.threads().into_iter();
    let waiting = waiting.filter(|thread| thread.gil_sum("wait/count") > 0);
    assert!(waiting.count() >= 2, "{worker:?}");
}

/// By the master with its children, and by one worker alone.
#[test]
fn a_prefork_server() {
    need_root();
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else {
        return;
    };
    let master = server.running.pid();
    let traced = server.trace(master, &["--children"]);
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    let processes = traced.report.processes();
    let workers: Vec<_> = processes.iter().filter(|one| one.pid() != master).collect();
    assert_eq!(workers.len(), 2, "{processes:?}");
    workers.iter().for_each(|worker| check(worker));

    let worker = workers[0].pid();
    let alone = server.trace(worker, &[]);
    assert_eq!(alone.report.only_process().pid(), worker);
    check(&alone.report.only_process());
}
