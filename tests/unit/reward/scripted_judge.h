// An OpenAI-compatible endpoint that plays judge by a script: the model's name says how it behaves. It counts what it is asked.
#pragma once
#include <string>

#include "reward/judges/judge.h"
#include "tests/unit/reward/python_server.h"

namespace candor::testing {

inline constexpr const char* kScriptedJudge = R"py(
import http.server, json, math, os, re, threading, time
lock, count = threading.Lock(), {}
def part(text, begin, end):
    return text.split(begin, 1)[1].split(end, 1)[0].strip() if begin in text else ""
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_GET(self): self.give(200, json.dumps(count))
    def give(self, status, text):
        data = text.encode()
        self.send_response(status); self.send_header("Content-Length", str(len(data))); self.end_headers()
        try: self.wfile.write(data)
        except OSError: pass
    def do_POST(self):
        r = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        m, q = r["model"], r["messages"][-1]["content"]
        with lock: n = count[m] = count.get(m, 0) + 1
        right = part(q, "Answer to be compared:\n", "\n\n") in part(q, "Accepted answers: ", "\n\n").split(" | ")
        say, top = "I think.\nVerdict: " + ("yes" if right else "no"), None
        if m == "liar": say = "Verdict: " + ("no" if right else "yes")
        if m == "slow": time.sleep(2)
        if m == "garbage": say = "As a language model I would rather not say"
        if m == "html": return self.give(200, "<html>")
        if m == "empty": return self.give(200, json.dumps({"choices": []}))
        if m == "deep": return self.give(200, "[" * 100000)
        if m == "dead": self.close_connection = True; return
        if m == "refuses": return self.give(401, "no such key " + self.headers.get("Authorization", ""))
        if m == "down" or (m == "busy" and n <= 2): return self.give(503, "busy")
        if m == "keyed" and self.headers.get("Authorization") != "Bearer s3cret-key": return self.give(401, "who?")
        if m == "split": say = "Verdict: " + ("yes" if n % 4 else "no")
        if m == "mumbles": say = say if n % 2 else "hm"
        if m == "probable":
            say = "Is the solution correct? Yes"
            top = [{"token": " Yes", "logprob": math.log(.6)}, {"token": " No", "logprob": math.log(.2)}, {"token": "yes", "logprob": math.log(.1)}]
        if m == "steps-all": say = " ".join("\\boxed{%s}" % ("incorrect" if "wrong" in s else "correct") for s in re.findall(r"Step \d+: (.*)", q))
        if m == "steps-short": say = "\\boxed{correct}"
        if m == "steps-each": say = "\\boxed{%s}" % ("negative" if "wrong" in q.split("The step to be judged:")[1] else "positive")
        if m == "coder" and len(r["messages"]) == 1:  # a step "2 + 2 = 4" becomes a program; what stands behind it was said unseen
            say = "Let me see.\n```python\nprint(%s)\n```\nIt prints False. Is the step correct? No" % q.split("The step to be judged:\n")[1].replace("=", "==")
        elif m == "coder" and r["messages"][1]["content"].endswith("```"):
            yes = .9 if q.split("printed:\n")[1].startswith("True") else .1
            say = "Is the step correct? Yes"
            top = [{"token": " Yes", "logprob": math.log(yes)}, {"token": " No", "logprob": math.log(1 - yes)}]
        if m == "longer":
            a, b = part(q, "[Assistant 1]\n", "\n[end"), part(q, "[Assistant 2]\n", "\n[end")
            say = "\\boxed{Assistant %d}" % (1 if len(a) > len(b) else 2)
        if m == "biased": say = "\\boxed{Assistant 1}"
        if m == "once" : say = "\\boxed{Assistant 1}" if n == 1 else "?"
        if m == "grm":
            say = "\\boxed{%d}" % (int(part(q, "Judgement:\n\\boxed{", "}")) if "Judgement:" in q else 1 + 2 * (n % 5))
        content = {"choices": [{"message": {"role": "assistant", "content": say}}]}
        if top: content["choices"][0]["logprobs"] = {"content": [{"token": "?", "logprob": -1, "top_logprobs": []}, {**top[0], "top_logprobs": top}, {"token": ".", "logprob": 0}]}
        self.give(200, json.dumps(content))
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
open("PORT.tmp", "w").write(str(s.server_port))
os.rename("PORT.tmp", "PORT")
s.serve_forever()
)py";

class ScriptedJudge : public PythonServer {
 public:
  explicit ScriptedJudge(const TempFolder& folder) : PythonServer(folder, "judge.py", kScriptedJudge) {}
  JudgeOptions Options(const std::string& file, const std::string& model) const {
    JudgeOptions options;
    options.name = "J";
    options.prompt = std::string(CANDOR_SOURCE_DIR) + "/recipes/judges/" + file + ".toml";
    options.url = "http://127.0.0.1:" + port + "/v1/";
    options.allow_hosts = {"127.0.0.1"};
    options.model = model;
    options.timeout_s = 1.0, options.retries = 0, options.concurrency = 4;
    return options;
  }
};

}  // namespace candor::testing
