// The dashboard: one HTML file (page.html) with its own script and drawings, built into the program. It asks /api/status, /api/metrics and
// /api/calibration with the token that stands in the fragment of its URL.
#pragma once
#include <string_view>

namespace candor {

extern const std::string_view kDashboardPage;

}  // namespace candor
