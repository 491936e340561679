use gilscope::{probe::*, model::Gil, collect::{decode, Record}};
use gilscope_common::maps::*;
fn main() {
    env_logger::init();
    let a: Vec<String> = std::env::args().collect();
    let pid: u32 = a[1].parse().unwrap();
    let g = u64::from_str_radix(a[2].trim_start_matches("0x"), 16).unwrap();
    let secs: f64 = a[3].parse().unwrap();
    check_permission().unwrap();
    let mut p = Probe::attach(&Limits::default()).unwrap();
    let gil = Gil { address: g, last_holder: g+8, locked: g+16, switch_number: g+24, cond: g+32, mutex: g+80, switch_cond: g+120, switch_mutex: g+168, interpreters: vec![0], enabled: true };
    let t = Target::default();
    p.watch(pid, 0, &gil).unwrap();
    p.follow(pid, &t).unwrap();
    let start = std::time::Instant::now();
    let mut waits: std::collections::HashMap<u32, Vec<u64>> = Default::default();
    let mut n=0u64; let mut out = a.get(4).map(|f| std::io::BufWriter::new(std::fs::File::create(f).unwrap()));
    println!("ready");
    while start.elapsed().as_secs_f64() < secs {
        std::thread::sleep(std::time::Duration::from_millis(10));
        p.drain(|b| { n+=1; match decode(b) { Ok(Record::Interval(i)) => { if i.kind == gilscope::model::IntervalKind::Wait { waits.entry(i.tid).or_default().push(i.end_ns - i.start_ns); if let Some(o) = &mut out { use std::io::Write; writeln!(o, "{},{},{}", i.tid, i.start_ns, i.end_ns).unwrap(); } } }, Ok(_) => {}, Err(e)=>panic!("{e}") } });
    }
    p.stop();
    println!("records {n} counters {:?}", p.counters());
    for t in p.threads() { println!("{:?}", t.sched); let k=TotalsKey{started_ns:t.started_ns,tid:t.tid,gil_id:0}; println!("  {:?}", p.totals(&k)); 
      if let Some(w) = waits.get_mut(&t.tid) { w.sort(); println!("  n {} sum {} p50 {} p99 {} max {}", w.len(), w.iter().sum::<u64>(), w[w.len()/2], w[w.len()*99/100], w[w.len()-1]); } }
}
