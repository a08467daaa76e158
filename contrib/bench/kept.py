"""W5: a mailbox whose mail stays on the server, all of it collected before: a pass that finds nothing new, and one that finds 10.

Each client has a mailbox of its own, a copy of one that is built once (Dovecot's mdbox, filled by APPEND, its indexes as Dovecot leaves them), so
that the new messages of one client are nobody else's. The state "all of them were collected" is mailgather's by collecting them, which is shown
too; the peers' files are written for them, in the form in which they write them. The first run of each client is not counted, as long as it is
short.
"""
import collections, imaplib, os, poplib, shutil, signal, socket, statistics, subprocess, sys, time

import bench as b

BATCH = 2000            # messages of one APPEND (RFC 3502)
NEW = 10
DAEMON_RUNS = 15
SLOW = 10               # seconds: a client that takes longer is measured once
# Whose messages go where: mpop has no SMTP, and mailgather is measured beside it into a Maildir too.
CLIENTS = {"imap": {"mailgather": "smtp", "fetchmail": "smtp", "fdm": "smtp", "getmail": "smtp"},
           "pop3": {"mailgather": "smtp", "mailgather-maildir": "maildir", "mpop": "maildir", "fetchmail": "smtp", "fdm": "smtp", "getmail": "smtp"}}


def run(bench, count, runs, protocols, chosen):
    began = time.perf_counter()
    fill(bench, "kept", count)
    print(f"  a mailbox of {count} was filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    for protocol in protocols:
        clients = {name: target for name, target in CLIENTS[protocol].items() if name.removesuffix("-maildir") in chosen}
        boxes = {}
        for name in clients:
            owner = name.removesuffix("-maildir")
            if owner not in boxes:
                boxes[owner] = Box(bench, protocol, owner, count)
        results = collections.defaultdict(list)
        for turn in range(runs + 1):
            for line in ("near", "far"):
                for new in (0, NEW):
                    for name, target in clients.items():
                        done = results[new, name, line]
                        if done and done[0]["wall"] > SLOW:
                            continue
                        if turn == 1:
                            done.clear()
                        done.append(boxes[name.removesuffix("-maildir")].run(name, target, line, new))
        for new in (0, NEW):
            table(protocol, count, new, clients, results)
        if "mailgather" in boxes:
            print("\nThe same passes of a running `mailgather run`, from the signal to its `session_finished`: the start of a program is not among them.\n", flush=True)
            for line in ("near", "far"):
                for new, walls in boxes["mailgather"].passes_of_a_daemon(line, max(runs, DAEMON_RUNS)).items():
                    print(f"{protocol.upper()}, {'50 ms' if line == 'far' else 'loopback'}, {new or 'nothing'} new: median {statistics.median(walls):.4f} s "
                          f"({min(walls):.4f}-{max(walls):.4f}), {len(walls)} runs, all arrived", flush=True)
        for box in boxes.values():
            shutil.rmtree(f"{bench.base}/mail/{box.user}")
    shutil.rmtree(f"{bench.base}/mail/kept@mdbox")


def small(number):
    return (f"From: <sender{number % 97}@shop.example>\r\nTo: bench@remote.example\r\nSubject: message {number}\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
            f"Message-ID: <{number}.kept@shop.example>\r\nX-Bench-Id: k{number:06d}\r\n\r\nYour order {number} is on its way.\r\n").encode()


def append(bench, user, messages, flags=""):
    with socket.create_connection(("127.0.0.1", bench.imap)) as s, s.makefile("rwb") as f:
        f.readline()
        f.write(f'l LOGIN "{user}" "{b.PASSWORD}"\r\na APPEND INBOX'.encode())
        for message in messages:
            f.write(f" ({flags}) {{{len(message)}+}}\r\n".encode() + message)
        f.write(b"\r\nq LOGOUT\r\n")
        f.flush()
        said = f.read()
    if b"\r\na OK" not in said:
        sys.exit(f"APPEND failed: {said[-300:]!r}")


def fill(bench, name, count):
    user = f"{name}@mdbox"
    os.makedirs(f"{bench.base}/mail/{user}")
    os.chown(f"{bench.base}/mail/{user}", b.UID, b.UID)
    for first in range(0, count, BATCH):
        append(bench, user, (small(number) for number in range(first, min(first + BATCH, count))), "\\Seen")
    # What only the first session of each protocol computes is nobody's.
    uidls(bench, user)
    imap_uids(bench, user)


def uidls(bench, user):
    box = poplib.POP3("127.0.0.1", bench.pop3)
    box.user(user)
    box.pass_(b.PASSWORD)
    box.list()
    found = [line.split()[1].decode() for line in box.uidl()[1]]
    box.quit()
    return found


def imap_uids(bench, user):
    imaplib._MAXLINE = 100_000_000
    box = imaplib.IMAP4("127.0.0.1", bench.imap)
    box.login(user, b.PASSWORD)
    box.select("INBOX", readonly=True)
    validity = box.response("UIDVALIDITY")[1][0].decode()
    found = box.uid("SEARCH", "ALL")[1][0].decode().split()
    box.uid("FETCH", "1:*", "(RFC822.SIZE)")
    box.logout()
    return [f"{validity}/{uid}" for uid in found]


class Box:
    """A client's mailbox and what the client remembers of it."""

    serial = 0

    def __init__(self, bench, protocol, name, count):
        self.bench, self.protocol, self.user = bench, protocol, f"{protocol}-{name}@mdbox"
        subprocess.run(["cp", "-a", f"{bench.base}/mail/kept@mdbox", f"{bench.base}/mail/{self.user}"], check=True)
        self.state = f"{bench.base}/jobs/kept-{protocol}-{name}"
        os.mkdir(self.state)
        os.chown(self.state, b.UID, b.UID)
        if name == "mailgather":
            self.collect(count)
        elif name == "getmail":
            uids = uidls(bench, self.user) if protocol == "pop3" else imap_uids(bench, self.user)
            self.put(self.getmail_file("near"), "".join(f"{uid}\0{int(time.time())}\n" for uid in uids))
        elif protocol == "pop3":
            uids = uidls(bench, self.user)
            host = "127.0.0.1"
            self.put(*{"fetchmail": ("fetchmail.ids", "".join(f"{self.user}@{host} {uid}\n" for uid in uids)),
                       "fdm": ("fdm.cache", "".join(f"{len(uid)} {uid}\n" for uid in uids)),
                       "mpop": ("mpop.uidls", f"# bench\n {len(uids)} {host} {self.user}\n" + "".join(uid + "\n" for uid in sorted(uids)))}[name])
        # Over IMAP fetchmail and fdm go by \Seen, which all messages have.

    def put(self, name, text):
        path = f"{self.state}/{name}"
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o600)
        os.chown(path, b.UID, b.UID)

    def collect(self, count):
        job = b.Job(self.bench, self.protocol, "smtp", user=self.user, state=self.state)
        self.bench.sink("RESET")
        done = b.measure(b.CLIENTS["mailgather"](job), job.work)
        arrived = len({line[0] for line in self.bench.sink("DUMP")})
        if arrived != count or done["code"] != 0:
            sys.exit(f"mailgather collected {arrived} of {count}, exit {done['code']}: {done['said']}")
        print(f"\nmailgather's first collection of {count} by {self.protocol.upper()}: {done['wall']:.1f} s, {count / done['wall']:.0f} messages/s, "
              f"CPU {done['cpu']:.1f} s, peak {done['memory']:.1f} MiB", flush=True)

    def getmail_file(self, line):
        near = self.bench.imap if self.protocol == "imap" else self.bench.pop3
        return f"oldmail-127.0.0.1-{near if line == 'near' else self.bench.far[near]}-{self.user}" + ("-INBOX" if self.protocol == "imap" else "")

    def run(self, name, target, line, new):
        want = {}
        if new:
            want = self.put_new()
        if name == "getmail":
            # It calls its file by the port: the same mailbox would be another one.
            files = [f"{self.state}/{self.getmail_file(line)}" for line in ("near", "far")]
            newest = max((file for file in files if os.path.exists(file)), key=os.path.getmtime)
            mine = f"{self.state}/{self.getmail_file(line)}"
            if newest != mine:
                shutil.move(newest, mine)
        job = b.Job(self.bench, self.protocol, target, line == "far", self.user, new_only=True, state=self.state)
        command = b.CLIENTS[name.removesuffix("-maildir")](job)
        self.bench.sink("RESET")
        before = self.bench.octets()
        done = b.measure(command, job.work)
        done["octets"] = [after - former for after, former in zip(self.bench.octets(), before)] if line == "far" else None
        done["arrived"] = b.verdict(b.arrived(self.bench, job), want)
        # fetchmail and mpop end with 1 when nothing is new.
        done["fine"] = done["arrived"] == "all" and (done["code"] == 0 or not new and done["code"] == 1)
        print(f"  W5 {self.protocol} {line} {new} new: {name} {done['wall']:.3f} s, CPU {done['cpu']:.3f} s, {done['memory']:.1f} MiB, arrived: {done['arrived']}"
              + ("" if done["fine"] else f", exit {done['code']}, said: {done['said']!r}"), file=sys.stderr)
        shutil.rmtree(job.work, ignore_errors=True)
        return done


    def put_new(self):
        want, messages = {}, []
        Box.serial += NEW
        for number in range(Box.serial - NEW, Box.serial):
            octets, want[f"m{number:06d}"] = b.message(number, 2000)
            messages.append(octets)
        append(self.bench, self.user, messages)
        return want

    def passes_of_a_daemon(self, line, runs):
        """How long a pass takes that SIGUSR1 asks for, with nothing new and with new messages."""
        job = b.Job(self.bench, self.protocol, "smtp", line == "far", self.user, new_only=True, state=self.state)
        program, _, *options = b.CLIENTS["mailgather"](job)
        config = options[options.index("--config") + 1]
        text = open(config).read().replace("    collect: new\n", "    collect: new\n    idle: off\n    interval: 24h\n")
        open(config, "w").write(text + "log: {level: debug}\n")
        command = ["setpriv", f"--reuid={b.UID}", f"--regid={b.UID}", "--clear-groups", program, "run", *options]
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=job.work, env=dict(os.environ, HOME=job.work))
        try:
            walls = {0: [], NEW: []}
            self.finished(daemon)
            for turn in range(runs):
                for new in walls:
                    want = self.put_new() if new else {}
                    self.bench.sink("RESET")
                    begun = time.perf_counter()
                    daemon.send_signal(signal.SIGUSR1)
                    self.finished(daemon)
                    walls[new].append(time.perf_counter() - begun)
                    arrived = b.verdict(b.arrived(self.bench, job), want)
                    if arrived != "all":
                        sys.exit(f"a pass of the daemon: {arrived}")
            return walls
        finally:
            daemon.terminate()
            daemon.communicate()

    def finished(self, daemon):
        for said in daemon.stderr:
            if b" session_failed " in said:
                sys.exit(said.decode())
            if b" session_finished " in said:
                return
        sys.exit("the daemon has ended")


def table(protocol, count, new, clients, results):
    print(f"\n### W5 {protocol.upper()}, {count} kept, {new or 'nothing'} new\n")
    print("| client | loopback: median s (min-max), runs | mailgather's time / its | 50 ms RTT: median s (min-max), runs | mailgather's time / its "
          "| CPU s | peak MiB | octets sent | received | arrived |\n|---|---|---|---|---|---|---|---|---|---|")
    wall = lambda name, line: [one["wall"] for one in results[new, name, line]]
    median = lambda name, line: statistics.median(wall(name, line))
    shown = lambda name, line: f"{median(name, line):.3f} ({min(wall(name, line)):.3f}-{max(wall(name, line)):.3f}), {len(wall(name, line))}"
    for name in sorted(clients, key=lambda name: median(name, "near")):
        both = results[new, name, "near"] + results[new, name, "far"]
        ours = "mailgather-maildir" if clients[name] == "maildir" and "mailgather-maildir" in clients else "mailgather"
        ratio = lambda line: f"{median(ours, line) / median(name, line):.3f}" if ours in clients else "-"
        octets = [statistics.median(one["octets"][way] for one in results[new, name, "far"]) for way in (0, 1)]
        faults = sorted({one["arrived"] if one["fine"] or one["arrived"] != "all" else f"all, exit {one['code']}" for one in both})
        print(f"| {name} | {shown(name, 'near')} | {ratio('near')} | {shown(name, 'far')} | {ratio('far')} | {statistics.median(one['cpu'] for one in both):.3f} "
              f"| {max(one['memory'] for one in both):.1f} | {octets[0]:.0f} | {octets[1]:.0f} | {'; '.join(faults)} |", flush=True)
