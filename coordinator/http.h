// The HTTP interface: /healthz and / (the dashboard's page, which holds no data) for anybody; /metrics, /api/status, /api/metrics?from= and
// /api/calibration?stream=&signal=&slice=&from=&to= for holders of the run's token (Authorization: Bearer, or ?token=). A request whose
// Host is neither an address nor a name of this machine is refused (421). Own threads; it only reads, through the functions it is given,
// which must be safe to call from any thread.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

struct HttpSource {
  std::string token;
  std::function<std::string()> status_json;
  std::function<std::string()> prometheus;
  std::function<Result<std::vector<std::string>>(uint64_t from_step)> metric_lines;
  struct CalibrationQuery {
    std::string stream, signal, slice;
    uint64_t from = 0, to = UINT64_MAX;
  };
  std::function<Result<std::string>(const CalibrationQuery&)> calibration_json;
};

class HttpServer {
 public:
  // Port 0: any free one.
  static Result<std::unique_ptr<HttpServer>> Start(const std::string& host, int port, int threads, HttpSource source);
  ~HttpServer();
  std::string url() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One GET with the run's token, for commands that look at a live coordinator.
Result<std::string> HttpGet(const std::string& url, const std::string& path, const std::string& token, int deadline_s);

}  // namespace candor
