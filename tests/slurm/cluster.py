"""A real Slurm of several nodes on one machine, for tests: slurmctld, munged and one slurmd a node, each node a machine of its own as far as
Slurm can tell (host name, processes, /dev/shm), so that losing a node is losing all of it at once.

    cluster.py FOLDER [--nodes N]      by hand, until Ctrl-C; `. FOLDER/env`, then sbatch, srun, squeue work

Needs root, and the packages slurm-wlm, munge, util-linux. Every file lives in FOLDER. Tests use the class.
"""
import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

PROGRAMS = ("munged", "munge", "unmunge", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "squeue", "unshare", "nsenter")
PACKAGES = "slurm-wlm munge util-linux"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
START_DEADLINE_S = 30

# One line of reason each where it is not the default.
CONFIG = """\
ClusterName=candor{port}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until the credential of its first life has run out: seconds here, two minutes by default.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
TmpFS={folder}/tmp/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/spool/%n/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
# No accounting: sacct says so, as on many small clusters.
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
# Without cgroups, which a container seldom may use.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{notice}# Two cores may pose as many.
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
SlurmctldTimeout=10
SlurmdTimeout={node_timeout}
KillWait=3
BatchStartTimeout=10
UnkillableStepTimeout=20
InactiveLimit=0
MinJobAge=3600
MaxArraySize=1001
"""
# The signal of --signal=B: reaches a job that is pre-empted, too. Sites without it send TERM to the steps.
NOTICE = "SlurmctldParameters=preempt_send_user_signal\n"
PARTITIONS = """\
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
# What a node does: pid 1 of its namespace reaps orphans and outlives slurmd, which a test may kill alone.
NODE = """
hostname "$1"
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount --bind "$2/hosts" /etc/hosts
ulimit -n 65536 2>/dev/null
start() {
  slurmd -D -N "$1" >>"$2/log/slurmd.$1.out" 2>&1 &
  echo $! >"$2/spool/$1/inner_pid" # as this node counts
}
start "$1" "$2"
trap 'start "$1" "$2"' USR1
trap 'exit 0' TERM
while :; do sleep 3600 & wait $!; done
"""


def why_not():
    """None, or why no cluster can be started here."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install {PACKAGES}"
    if os.geteuid() != 0:
        return "a Slurm of several nodes on one machine needs root (namespaces)"
    tried = subprocess.run(["unshare", "--uts", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else "no namespaces here: " + tried.stderr.strip()


def free_ports(count):
    """The first of `count` neighbouring ports that nobody listens on."""
    for first in range(27000 + os.getpid() % 400 * 16, 60000, 16):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("0.0.0.0", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")


class Cluster:
    """with Cluster(folder, nodes=4) as cluster: cluster.run("sinfo")"""

    def __init__(self, folder, nodes=4, cpus=8, node_timeout_s=10, gpus=0, notice=True):
        self.folder, self.nodes, self.cpus = pathlib.Path(folder), [f"n{i}" for i in range(1, nodes + 1)], cpus
        self.node_timeout_s, self.gpus, self.notice = node_timeout_s, gpus, notice
        self.port = free_ports(nodes + 1)
        self.daemons = {}
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf"),
                            # more ranks than cores, as root
                            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
                            "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    # ---- starting and stopping ----
    def start(self):
        for name in ("munge", "state", "log", "spool", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        lines = [CONFIG.format(folder=self.folder, port=self.port, host=socket.gethostname(), node_timeout=self.node_timeout_s,
                               notice=NOTICE if self.notice else ""), self._make_gpus()]
        hosts = [pathlib.Path("/etc/hosts").read_text()]
        for i, name in enumerate(self.nodes, 1):
            (self.folder / "spool" / name).mkdir(exist_ok=True)
            hosts.append(f"127.0.0.1 {name}\n")
            lines.append(f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={self.port + i} CPUs={self.cpus} Boards=1 SocketsPerBoard=1 "
                         f"CoresPerSocket={self.cpus} ThreadsPerCore=1 RealMemory=4000 {f'Gres=gpu:{self.gpus} ' if self.gpus else ''}State=UNKNOWN\n")
        (self.folder / "slurm.conf").write_text("".join(lines) + PARTITIONS)
        (self.folder / "hosts").write_text("".join(hosts))
        (self.folder / "env").write_text("".join(f"export {name}={value}\n" for name, value in self.environment.items() if name.startswith(("SLURM_", "OMPI_"))))
        munge = self.folder / "munge"
        # as root munged only warns; --force because folders above ours may be open to all
        self._spawn("munged", ["munged", "--foreground", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket", f"--pid-file={munge}/pid",
                               f"--log-file={munge}/log", f"--seed-file={munge}/seed"])
        self.wait_for("munged", lambda: subprocess.run(f"munge -n -S {munge}/socket | unmunge -S {munge}/socket", shell=True, capture_output=True,
                                                       env=self.environment).returncode == 0)
        self.start_controller()
        for name in self.nodes:
            self._spawn_node(name)
        self.wait_for("all nodes", lambda: all(state in ("idle", "mixed", "allocated") for state in self.states().values()))

    def _make_gpus(self):
        """Devices that are none: Slurm wants character devices of their own, gives them out, and sets CUDA_VISIBLE_DEVICES. `gpus` is 0 where none can be made."""
        if self.gpus == 0:
            return ""
        try:
            for i in range(self.gpus):
                os.mknod(self.folder / f"gpu{i}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:
            self.gpus = 0
            return ""
        (self.folder / "gres.conf").write_text(f"NodeName={','.join(self.nodes)} Name=gpu File={self.folder}/gpu[0-{self.gpus - 1}]\n")
        return "GresTypes=gpu\n"

    def stop(self):
        for name in self.nodes:
            self._end(name, signal.SIGKILL)
        self._end("slurmctld", signal.SIGTERM)
        self._end("munged", signal.SIGTERM)

    def _spawn(self, name, command):
        with open(self.folder / "log" / f"{name}.out", "ab") as log:
            self.daemons[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True)

    def _end(self, name, number):
        process = self.daemons.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)

    def _spawn_node(self, name):
        (self.folder / "tmp" / name).mkdir(exist_ok=True)
        (self.folder / "tmp" / name).chmod(0o1777)
        self._spawn(name, ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "bash", "-c", NODE, "node", name, str(self.folder)])

    # ---- asking ----
    def run(self, *command, check=True, timeout=60, **more):
        answer = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout, env={**self.environment, **more.pop("env", {})}, **more)
        if check and answer.returncode != 0:
            raise AssertionError(f"{command} ended with {answer.returncode}\n{answer.stdout}{answer.stderr}")
        return answer

    def states(self):
        found = dict(line.split()[:2] for line in self.run("sinfo", "-hN", "-p", "main", "-o", "%N %T", check=False).stdout.splitlines() if line.split()[1:])
        return {name: found.get(name, "unknown") for name in self.nodes}

    def job(self, number):
        """What `scontrol show job` says, as a dictionary."""
        text = self.run("scontrol", "--oneliner", "show", "job", number, check=False).stdout.splitlines()
        return dict(word.split("=", 1) for word in text[0].split() if "=" in word) if text else {}

    def wait_for(self, what, holds, deadline_s=START_DEADLINE_S):
        end = time.monotonic() + deadline_s
        while not holds():
            if time.monotonic() > end:
                log = self.folder / "log" / "slurmctld.log"
                raise AssertionError(f"{what}: not within {deadline_s} s\n" + (log.read_text()[-3000:] if log.exists() else ""))
            time.sleep(0.1)

    # ---- breaking ----
    def start_controller(self):
        self._spawn("slurmctld", ["slurmctld", "-D", "-s"])
        self.wait_for("slurmctld", lambda: "UP" in self.run("scontrol", "ping", check=False).stdout)

    def kill_controller(self):
        self._end("slurmctld", signal.SIGKILL)

    def kill_node(self, name):
        """Power loss."""
        self._end(name, signal.SIGKILL)

    def boot_node(self, name, dirty=False):
        """Power is back. A reboot clears what is local; `dirty` leaves Slurm's spool with its PMIx sockets, as it happens where no prolog cleans up."""
        shutil.rmtree(self.folder / "tmp" / name, ignore_errors=True)
        if not dirty:
            for left in (self.folder / "spool" / name).glob("*pmix*"):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() and not left.is_symlink() else left.unlink(missing_ok=True)
        self._spawn_node(name)
        self.wait_for(f"{name} to answer", lambda: self._answers(name), 60)

    def _answers(self, name):
        state = self.states()[name]
        if state.startswith(("down", "drain")):  # a node that was found dead while it booted stays marked
            self.run("scontrol", "update", f"nodename={name}", "state=resume", check=False)
        return state.split("*")[0] in ("idle", "mixed", "allocated", "completing") and "*" not in state

    def kill_slurmd(self, name):
        """slurmd alone; what it started lives on."""
        self.in_node(name, "kill", "-KILL", (self.folder / "spool" / name / "inner_pid").read_text().strip())

    def start_slurmd(self, name):
        self.in_node(name, "kill", "-USR1", "1")

    def _processes_of(self, name):
        init = subprocess.run(["pgrep", "-P", str(self.daemons[name].pid)], capture_output=True, text=True).stdout.split()[0]
        space = os.readlink(f"/proc/{init}/ns/pid")
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "ns" / "pid") == space:
                    yield int(entry.name)

    def freeze_node(self, name):
        """Nothing on the node moves, and nobody is told: what a cut network looks like to the others, without the reset of a power loss."""
        for process in self._processes_of(name):
            os.kill(process, signal.SIGSTOP)

    def thaw_node(self, name, but_slurmd=False):
        """`but_slurmd`: what runs there goes on, and Slurm cannot tell it that it should not."""
        for process in self._processes_of(name):
            if not but_slurmd or pathlib.Path(f"/proc/{process}/comm").read_text().strip() != "slurmd":
                os.kill(process, signal.SIGCONT)

    def programs(self, name):
        """What runs on the node: (words, environment, number as this machine counts) of each process."""
        for process in self._processes_of(name):
            with contextlib.suppress(OSError):
                words, pairs = ((pathlib.Path("/proc") / str(process) / file).read_bytes().decode(errors="replace").split("\0") for file in ("cmdline", "environ"))
                if words[0]:
                    yield words[:-1], dict(pair.split("=", 1) for pair in pairs if "=" in pair), process

    def enter(self, name):
        """What a command must be called with to run on the node."""
        init = subprocess.run(["pgrep", "-P", str(self.daemons[name].pid)], capture_output=True, text=True).stdout.split()
        return ["nsenter", "-t", init[0], "--uts", "--mount", "--pid"]

    def in_node(self, name, *command):
        return subprocess.run([*self.enter(name), *command], capture_output=True, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--nodes", type=int, default=4)
    arguments = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(reason)
    began = time.monotonic()
    with Cluster(pathlib.Path(arguments.folder).resolve(), arguments.nodes) as cluster:
        print(f"{len(cluster.nodes)} nodes idle after {time.monotonic() - began:.1f} s: . {cluster.folder}/env   (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.sigwait([signal.SIGTERM, signal.SIGINT])


if __name__ == "__main__":
    main()
