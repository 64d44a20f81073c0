// Small exchanges between the ranks on top of Collective: texts and doubles of any length, every rank sees all of them in rank order and so
// comes to the same verdict. Thread rule and errors as in core/collective.h.
#pragma once
#include <string>
#include <vector>

#include "core/collective.h"

namespace candor {

// Element r is what rank r gave.
Result<std::vector<std::string>> GatherTexts(Collective& collective, const std::string& mine);
// All ranks give equally many.
Result<std::vector<std::vector<double>>> GatherDoubles(Collective& collective, const std::vector<double>& mine);
// Root's text on every rank.
Result<std::string> BroadcastText(Collective& collective, const std::string& text, int root);
// Ok only when every rank says so; else the error of the first rank that failed, on all of them.
Status AgreeOn(Collective& collective, const Status& mine);

}  // namespace candor
