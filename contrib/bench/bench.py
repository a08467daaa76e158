#!/usr/bin/env python3
"""Runs the workloads and prints tables; contrib/bench/run installs and builds what this needs.

W1  5,000 messages, IMAP to SMTP, loopback        W4  500 messages over 50 ms RTT, IMAP and POP3 to SMTP
W2  5,000 messages, IMAP to Maildir               W5  200,000 kept on the server, nothing new and 10 new
W3  5,000 messages, POP3 to SMTP (and to Maildir) W7  one message of 100 MB, IMAP and POP3
"""
import argparse, atexit, base64, collections, glob, hashlib, math, os, random, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = HERE + "/tools/target/release/"
UID = 65534             # nobody: getmail refuses root, fetchmail and fdm want an entry in /etc/passwd
PASSWORD = "bench-password"
TIME_LIMIT = 600        # seconds for one run
# Runs of one client: all are interleaved, so that a noisy minute hits everybody.


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Bench:
    """The servers: Dovecot, sink, delay proxy; all on loopback, all stopped at exit."""

    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="mailgather-bench-", dir=os.environ.get("BENCH_DIR", "/tmp"))
        os.chmod(self.base, 0o755)
        self.started = []
        atexit.register(self.stop)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        for name in ("run", "mail", "jobs", "corpus"):
            os.mkdir(f"{self.base}/{name}")
            if name != "run":
                os.chown(f"{self.base}/{name}", UID, UID)
        self.imap, self.pop3, self.smtp, self.lmtp, self.control = (free_port() for _ in range(5))
        self.far = {self.imap: free_port(), self.pop3: free_port()}
        # A user of its own cannot reach a program below /root.
        self.program = f"{self.base}/mailgather"
        shutil.copy(os.environ["MAILGATHER"], self.program)
        os.chmod(self.program, 0o755)
        self.start([TOOLS + "sink", str(self.smtp), str(self.lmtp), str(self.control)])
        self.start([TOOLS + "proxy", "25"] + [f"{far}={near}" for near, far in self.far.items()], "proxy.log")
        self.dovecot()
        for port in (self.imap, self.pop3, self.smtp, self.control, *self.far.values()):
            self.wait(port)

    def start(self, command, log="servers.log"):
        log = open(f"{self.base}/{log}", "ab")
        self.started.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True))

    def wait(self, port):
        for _ in range(200):
            try:
                return socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                time.sleep(0.05)
        sys.exit(f"port {port} does not answer: {open(self.base + '/servers.log').read()}")

    def stop(self):
        for process in self.started:
            process.terminate()
        time.sleep(0.2)
        for process in self.started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        shutil.rmtree(self.base, ignore_errors=True)

    def octets(self):
        """What went through the delay proxy by now, in connections that are over: octets to the server, octets from it."""
        time.sleep(0.2)
        lines = [line.split() for line in open(f"{self.base}/proxy.log")]
        return [sum(int(line[way]) for line in lines) for way in (0, 1)]

    def dovecot(self):
        service = lambda name, kind, port: f"""
service {name}-login {{
  service_count = 0
  process_min_avail = 1
  client_limit = 1000
  inet_listener {name} {{
    port = {port}
  }}
  inet_listener {kind} {{
    port = 0
  }}
}}
service {name} {{
  service_count = 1000
  process_min_avail = 1
}}"""
        # The server is not what is measured: no fsync of its own indexes, no directory scans.
        text = f"""base_dir = {self.base}/run
state_dir = {self.base}/run
instance_name = mailgather-bench
log_path = {self.base}/dovecot.log
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
auth_cache_size = 10M
first_valid_uid = 1
# A user of the domain mdbox has a mailbox of that form.
mail_location = %{{if;%d;eq;mdbox;mdbox;maildir}}:~/Maildir
mail_save_crlf = yes
mail_fsync = never
maildir_very_dirty_syncs = yes
mail_max_userip_connections = 200
pop3_fast_size_lookups = yes
pop3_no_flag_updates = yes
default_vsz_limit = 2G
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={UID} gid={UID} home={self.base}/mail/%u
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
{service("imap", "imaps", self.imap)}
{service("pop3", "pop3s", self.pop3)}
"""
        open(f"{self.base}/dovecot.conf", "w").write(text)
        self.start(["/usr/sbin/dovecot", "-F", "-c", f"{self.base}/dovecot.conf"])

    def sink(self, word):
        with socket.create_connection(("127.0.0.1", self.control)) as s, s.makefile("rw") as f:
            f.write(word + "\n")
            f.flush()
            lines = []
            while (line := f.readline().strip()):
                lines.append(line.split(" "))
            return lines


# ---------------------------------------------------------------- messages
TEXT = "\r\n".join(" ".join(random.Random(i).choices("the of and delivery order report привет Grüße meeting invoice please find attached .".split(), k=11)) for i in range(1200)).encode()


def message(number, size):
    r = random.Random(number)
    host = r.choice(["shop.example", "news.example.org", "corp.example.net"])
    head = (f"Return-Path: <sender{number}@{host}>\r\nDelivered-To: bench@remote.example\r\nX-Original-To: bench@remote.example\r\n"
            + "".join(f"Received: from mx{i}.{host} (mx{i}.{host} [198.51.100.{r.randrange(1, 255)}])\r\n\tby mx.remote.example (Postfix) with ESMTPS id {r.getrandbits(44):011X}\r\n"
                      f"\tfor <bench@remote.example>; Sat, 21 Nov 2026 10:00:00 +0000\r\n" for i in range(r.randrange(2, 6)))
            + f"DKIM-Signature: v=1; a=rsa-sha256; d={host}; s=s1;\r\n\tb={base64.b64encode(r.randbytes(250)).decode()}\r\n"
            + f"From: <sender{number}@{host}>\r\nTo: bench@remote.example\r\nSubject: message {number}\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
            + f"Message-ID: <{number}.{r.getrandbits(64):x}@{host}>\r\nX-Bench-Id: m{number:06d}\r\nMIME-Version: 1.0\r\n").encode()
    left = max(100, size - len(head))
    if left < 20_000:
        start = r.randrange(len(TEXT) // 2)
        body = TEXT[TEXT.index(b"\r\n", start) + 2:][:left].rsplit(b"\r\n", 1)[0].removesuffix(b"\r")
        # Cut at a line's end only, so that UTF-8 stays whole and no bare CR is left: mailgather would, by its rule, make that a line end.
        body += b"\r\n.\r\n..dots\r\nend\r\n"
        head += b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    else:
        body = base64.encodebytes(r.randbytes(left * 57 // 78)).replace(b"\n", b"\r\n")
        head += b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    return head + b"\r\n" + body, hashlib.sha256(body).hexdigest()


def corpus(bench, name, sizes):
    """Writes the messages once; returns {id: body's SHA-256}. Maildir names carry the sizes, as Dovecot would name them."""
    folder = f"{bench.base}/corpus/{name}"
    os.makedirs(folder)
    want = {}
    for number, size in enumerate(sizes):
        octets, digest = message(number, size)
        want[f"m{number:06d}"] = digest
        with open(f"{folder}/{1700000000 + number}.M{number}.bench,S={len(octets)},W={len(octets)}:2,", "wb") as f:
            f.write(octets)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", folder], check=True)
    return want


def usual_sizes(n):
    r = random.Random(1)
    return [min(5_000_000, int(math.exp(r.gauss(math.log(12_000), 1.5)))) for _ in range(n)]


def fill(bench, user, name):
    """Puts a corpus into a mailbox by hard links, with warm indexes: a first session would measure Dovecot (4 ms for each single FETCH)."""
    home = f"{bench.base}/mail/{user}"
    shutil.rmtree(home, ignore_errors=True)
    for part in ("cur", "new", "tmp"):
        os.makedirs(f"{home}/Maildir/{part}")
    for file in os.listdir(f"{bench.base}/corpus/{name}"):
        os.link(f"{bench.base}/corpus/{name}/{file}", f"{home}/Maildir/cur/{file}")
    for folder in (home, f"{home}/Maildir", *glob.glob(f"{home}/Maildir/*/")):
        os.chown(folder, UID, UID)
    for protocol, port in (("imap", bench.imap), ("pop3", bench.pop3)):
        subprocess.run([TOOLS + "raw_relay", protocol, str(port), user, PASSWORD, str(bench.smtp)], check=True)


# ---------------------------------------------------------------- clients
class Job:
    def __init__(self, bench, protocol, target, far=False, user="bench", new_only=False, state=None):
        self.protocol, self.target, self.user, self.new_only = protocol, target, user, new_only
        near = bench.imap if protocol == "imap" else bench.pop3
        self.port = bench.far[near] if far else near
        self.smtp, self.lmtp, self.program = bench.smtp, bench.lmtp, bench.program
        self.work = tempfile.mkdtemp(dir=f"{bench.base}/jobs")
        self.state = state or self.work
        self.out = f"{self.work}/out"
        for folder in ("", "/cur", "/new", "/tmp"):
            os.mkdir(self.out + folder)
        subprocess.run(["chown", "-R", f"{UID}:{UID}", self.work], check=True)

    def put(self, name, text):
        path = f"{self.work}/{name}"
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o600)
        os.chown(path, UID, UID)
        return path


def mailgather(j):
    password = j.put("password", PASSWORD)
    to = f"{{smtp: 127.0.0.1:{j.smtp}}}" if j.target == "smtp" else f"{{maildir: '{j.out}/'}}"
    config = j.put("mailgather.yaml", f"""service: {{start_jitter: 0s}}
delivery: {to}
collectors:
  bench:
    protocol: {j.protocol}
    username: {j.user}
    server: 127.0.0.1
    port: {j.port}
    tls: {{mode: none}}
    auth: {{allow_plaintext: true}}
    password: {{file: {password}}}
    collect: new
    after: keep
    max_messages_per_session: 0
    recipient: {{forward_to: bench@localhost}}
""")
    os.makedirs(f"{j.state}/mailgather", exist_ok=True)
    os.chown(f"{j.state}/mailgather", UID, UID)
    return [j.program, "once", "--config", config, "--state-dir", f"{j.state}/mailgather"]


def fetchmail(j):
    if j.target != "smtp":
        return None
    uidl = "uidl" if j.protocol == "pop3" else ""
    rc = j.put("fetchmailrc", f"""set no syslog
set no bouncemail
set idfile {j.state}/fetchmail.ids
poll 127.0.0.1 service {j.port} protocol {j.protocol.upper()} no dns {uidl}
  user "{j.user}" password "{PASSWORD}" is "bench" here {"" if j.new_only else "fetchall"} keep no rewrite sslproto "" smtphost "127.0.0.1/{j.smtp}" smtpaddress "localhost"
""")
    return ["fetchmail", "-f", rc, "--pidfile", f"{j.work}/fetchmail.pid", "--silent"]


def fdm(j):
    to = f'smtp server "127.0.0.1" port {j.smtp} from "x@localhost" to "bench@localhost"' if j.target == "smtp" else f'maildir "{j.out}"'
    only = "new-only" + (f' cache "{j.state}/fdm.cache"' if j.protocol == "pop3" else "") if j.new_only else ""
    folder = 'folder "INBOX"' if j.protocol == "imap" else ""
    return ["fdm", "-f", j.put("fdm.conf", f"""set lock-file "{j.work}/fdm.lock"
set no-received
set maximum-size 512M
account "a" {j.protocol} server "127.0.0.1" port {j.port} user "{j.user}" pass "{PASSWORD}" {folder} {only} keep
action "d" {to}
match all action "d"
"""), "-q", "fetch"]


def mpop(j):
    if j.protocol != "pop3" or j.target != "maildir":
        return None
    return ["mpop", "-C", j.put("mpoprc", f"""account a
host 127.0.0.1
port {j.port}
user {j.user}
password {PASSWORD}
auth user
tls off
keep on
delivery maildir {j.out}
uidls_file {j.state}/mpop.uidls
"""), "-q", "-a"]


def getmail(j):
    to = (f"type = Maildir\npath = {j.out}/" if j.target == "maildir" else f"type = MDA_lmtp\nhost = 127.0.0.1\nport = {j.lmtp}\noverride = bench@localhost")
    mailboxes = 'mailboxes = ("INBOX",)\n' if j.protocol == "imap" else ""
    rc = j.put("getmailrc", f"""[retriever]
type = Simple{j.protocol.upper()}Retriever
server = 127.0.0.1
port = {j.port}
username = {j.user}
password = {PASSWORD}
{mailboxes}[destination]
{to}
[options]
read_all = {"false" if j.new_only else "true"}
delete = false
verbose = 0
""")
    return ["getmail", f"--getmaildir={j.state}", f"--rcfile={rc}"]


def raw(j):
    return [TOOLS + "raw_relay", j.protocol, str(j.port), j.user, PASSWORD, str(j.smtp)] if j.target == "smtp" else None


CLIENTS = {"mailgather": mailgather, "fetchmail": fetchmail, "fdm": fdm, "mpop": mpop, "getmail": getmail, "raw-relay": raw}


# ---------------------------------------------------------------- measuring
def measure(command, work):
    # /usr/bin/time stands between, or ru_maxrss would be that of this Python before its exec.
    if not command[0].startswith(TOOLS):
        command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"] + command
    report = f"{work}/time"
    environment = dict(os.environ, HOME=work, LC_ALL="C.UTF-8")
    with open(f"{work}/log", "w+b") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(["/usr/bin/time", "-v", "-o", report] + command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=work, start_new_session=True)
        # Popen.wait with a time limit looks only now and then, up to 50 ms late.
        timer = threading.Timer(TIME_LIMIT, lambda: os.killpg(process.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except SystemExit:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
        wall = time.perf_counter() - begun
        code = process.returncode = os.waitstatus_to_exitcode(status)
        if wall >= TIME_LIMIT:
            code = "time limit"
        log.seek(0)
        said = log.read()[-400:].decode("utf8", "replace")
    values = dict(line.strip().rsplit(": ", 1) for line in open(report) if ": " in line) if os.path.exists(report) else {}
    return dict(wall=wall, cpu=used.ru_utime + used.ru_stime, memory=int(values.get("Maximum resident set size (kbytes)", 0)) / 1024, code=code, said=said)


def arrived(bench, job):
    if job.target == "smtp":
        return [tuple(line) for line in bench.sink("DUMP")]
    got = []
    for path in glob.glob(f"{job.out}/**/new/*", recursive=True) + glob.glob(f"{job.out}/**/cur/*", recursive=True):
        octets = open(path, "rb").read()
        if b"\r\n" not in octets[:4000]:
            octets = octets.replace(b"\n", b"\r\n")
        head, _, body = octets.partition(b"\r\n\r\n")
        at = head.find(b"X-Bench-Id: ")
        got.append((head[at + 12:at + 19].decode() if at >= 0 else "?", hashlib.sha256(body).hexdigest()))
    return got


def verdict(got, want):
    count = collections.Counter(identity for identity, _ in got)
    lost = sum(1 for identity in want if not count[identity])
    twice = sum(n - 1 for n in count.values())
    foreign = sum(1 for identity in count if identity not in want)
    changed = [identity for identity, digest in got if identity in want and want[identity] != digest]
    altered = len(changed)
    faults = [f"{n} {word}" for n, word in ((lost, "LOST"), (twice, "TWICE"), (foreign, "UNKNOWN"), (altered, "ALTERED")) if n]
    return ", ".join(faults) + (f" (the first: {changed[0]})" if changed else "") or "all"


def workload(bench, title, protocol, target, want, clients, runs, far=False):
    results = collections.defaultdict(list)
    given_up = set()
    for turn in range(runs):
        for name in clients:
            if name in given_up:
                continue
            job = Job(bench, protocol, target, far)
            command = CLIENTS[name](job)
            if not command:
                given_up.add(name)
                continue
            bench.sink("RESET")
            run = measure(command, job.work)
            run["arrived"] = verdict(arrived(bench, job), want)
            run["fine"] = run["arrived"] == "all" and run["code"] == 0
            print(f"  {title}: {name} {run['wall']:.2f} s, arrived: {run['arrived']}" + ("" if run["fine"] else f", exit {run['code']}, said: {run['said']!r}"), file=sys.stderr)
            results[name].append(run)
            # A slow run shows enough; a broken one too.
            if run["wall"] > 40 or not run["fine"] and run["arrived"] != "all":
                given_up.add(name)
            shutil.rmtree(job.work, ignore_errors=True)
    table(title, results, len(want))


def table(title, results, n):
    wall = {name: statistics.median(r["wall"] for r in runs) for name, runs in results.items()}
    whole = lambda name: all(r["arrived"] == "all" for r in results[name])
    # Who lost or altered mail has no rate.
    rated = lambda name: wall.get(name) if name in wall and whole(name) and all(r["fine"] for r in results[name]) else None
    fetch, limit = rated("fetchmail"), rated("raw-relay")
    best = min((w for name, w in wall.items() if name not in ("mailgather", "raw-relay") and rated(name)), default=None)
    ratio = lambda a, b: f"{a / b:.2f}" if a and b else "-"
    print(f"\n### {title}\n\n| client | median s (min-max), runs | messages/s | times fetchmail's rate | times the best whole peer's | time / raw limit | CPU s | peak MiB | arrived |\n|---|---|---|---|---|---|---|---|---|")
    for name in sorted(wall, key=wall.get):
        runs, w, r0 = results[name], wall[name], rated(name)
        faults = sorted({r["arrived"] if r["fine"] or r["arrived"] != "all" else f"all, exit {r['code']}" for r in runs})
        print(f"| {name} | {w:.3f} ({min(r['wall'] for r in runs):.3f}-{max(r['wall'] for r in runs):.3f}), {len(runs)} | {f'{n / r0:.0f}' if n and r0 else '-'} | {ratio(fetch, r0)} | {ratio(best, r0)} | {ratio(r0, limit)} "
              f"| {statistics.median(r['cpu'] for r in runs):.2f} | {max(r['memory'] for r in runs):.1f} | {'; '.join(faults)} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("workloads", nargs="*", default=[], help="default: all")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--clients", help="comma-separated; default: all that can")
    p.add_argument("--messages", type=int, help="other numbers of messages (W1-W4), for a quick look")
    p.add_argument("--kept", type=int, default=200_000, help="messages that are kept on the server (W5)")
    p.add_argument("--protocol", choices=["imap", "pop3"], help="W5: only this one")
    a = p.parse_args()
    chosen = [w.upper() for w in a.workloads] or ["W1", "W2", "W3", "W4", "W5", "W7"]
    pick = lambda names: [n for n in names.split() if not a.clients or n in a.clients.split(",")]
    bench = Bench()
    print(f"{os.cpu_count()} processors, {time.strftime('%F')}, load {os.getloadavg()[0]:.1f} at the start")
    if {"W1", "W2", "W3"} & set(chosen):
        n = a.messages or 5000
        want = corpus(bench, "usual", usual_sizes(n))
        fill(bench, "bench", "usual")
        if "W1" in chosen:
            workload(bench, f"W1 IMAP to SMTP, {n} messages, loopback", "imap", "smtp", want, pick("raw-relay mailgather fetchmail fdm getmail"), a.runs)
        if "W2" in chosen:
            workload(bench, f"W2 IMAP to Maildir, {n} messages, loopback", "imap", "maildir", want, pick("mailgather fdm getmail"), a.runs)
        if "W3" in chosen:
            workload(bench, f"W3 POP3 to SMTP, {n} messages, loopback", "pop3", "smtp", want, pick("raw-relay mailgather fetchmail fdm getmail"), a.runs)
            workload(bench, f"W3 POP3 to Maildir, {n} messages, loopback", "pop3", "maildir", want, pick("mailgather mpop fdm getmail"), a.runs)
    if "W4" in chosen:
        n = min(a.messages or 500, 500)
        want = corpus(bench, "far", usual_sizes(n))
        fill(bench, "bench", "far")
        for protocol in ("imap", "pop3"):
            workload(bench, f"W4 {protocol.upper()} to SMTP, {n} messages, RTT 50 ms at the source", protocol, "smtp", want, pick("raw-relay mailgather fetchmail fdm getmail"), a.runs, far=True)
    if "W7" in chosen:
        want = corpus(bench, "big", [100_000_000])
        fill(bench, "bench", "big")
        for protocol in ("imap", "pop3"):
            workload(bench, f"W7 {protocol.upper()} to SMTP, one message of 100 MB", protocol, "smtp", want, pick("raw-relay mailgather fetchmail fdm getmail"), a.runs)
    if "W5" in chosen:
        kept.run(bench, a.kept, a.runs, [a.protocol] if a.protocol else ["imap", "pop3"], pick("mailgather fetchmail fdm mpop getmail"))


if __name__ == "__main__":
    # As a module, so that kept.py has the same one.
    import bench, kept
    bench.kept = kept
    bench.main()
