"""The page and the JSON of a real run: served with the run's token only, whole in itself, and `candor dashboard` says where it is. With Chromium on PATH and CANDOR_SCREENSHOT=FILE a picture
of it is taken.

usage: dashboard_test.py CANDOR SOURCE_FOLDER
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from processes import CANDOR, steps_done  # noqa: E402
from faulted_run import FaultedRun, Run, Undisturbed  # noqa: E402


def fetch(url, token=None):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode(), answer.headers


class Dashboard(FaultedRun):
    def test_page_and_json_of_a_live_run(self):
        run = Run(self.folder.name, 100000, {"CANDOR_FAULT": "learner.step=delay:100"}, rollout__workers=2)
        self.addCleanup(run.log.close)
        try:
            deadline = time.monotonic() + 120
            while steps_done(run.path) < 30:
                self.assertLess(time.monotonic(), deadline, run.logs())
                time.sleep(0.1)
            self.look(run)
        finally:
            run.end()

    def look(self, run):
        answer = subprocess.run([CANDOR, "dashboard", str(run.path)], capture_output=True, text=True, timeout=30)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
        url, token = re.search(r"(http://127\.0\.0\.1:\d+)/#token=(\S+)", answer.stdout).groups()
        self.assertRegex(answer.stdout, r"ssh -N -L \d+:127\.0\.0\.1:\d+ \S+")
        page, headers = fetch(url + "/")
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        self.assertNotIn(token, page)
        self.assertEqual(re.findall(r'(?:src|href)="?(?:https?:)?//', page), [], "the page needs nothing from elsewhere")
        for path in ("/api/status", "/api/metrics", "/metrics", "/api/calibration"):
            for wrong in (None, "x" * len(token)):
                with self.assertRaises(urllib.error.HTTPError) as refused:
                    fetch(url + path, wrong)
                self.assertEqual(refused.exception.code, 401, path)
        status = json.loads(fetch(url + "/api/status", token)[0])
        for key in ("members", "waiting", "alarms", "calibration", "groups", "covered_by_checkpoint", "checkpoint_age_s", "next_step", "wall_s"):
            self.assertIn(key, status)
        self.assertGreater(status["calibration"]["n"], 0)
        lines = json.loads(fetch(url + "/api/metrics?from=25", token)[0])
        self.assertGreaterEqual(lines[0]["step"], 25)
        series = json.loads(fetch(url + "/api/calibration?stream=train&from=1&to=20", token)[0])
        self.assertIn("slot", [one["signal"] for one in series])
        for log in (run.path / "logs").iterdir():
            self.assertNotIn(token, log.read_text(errors="replace"), f"the token is in {log.name}")
        picture = os.environ.get("CANDOR_SCREENSHOT")
        if picture and shutil.which("chromium"):
            subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,1350", "--virtual-time-budget=6000", f"--screenshot={picture}", f"{url}/#token={token}"],
                           capture_output=True, timeout=90)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="candor-dashboard-") as shared:
        Undisturbed.folder = pathlib.Path(shared)
        unittest.main(verbosity=2)
