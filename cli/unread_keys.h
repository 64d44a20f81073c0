// Keys of a recipe that have a value of their own but that no selected component reads: [warm_up] without that stage, trainer.clip_low with
// a loss that does not clip. Whoever wrote one believes that it does something, so it is an error. A key that holds its default is not one:
// a run's resolved recipe names every key.
#pragma once
#include <string>
#include <vector>

#include "cli/recipe.h"

namespace candor::cli {

struct UnreadKey {
  std::string section, key;  // "trainer", "clip_low"; section "objective" with index 1 for objective[1]
  int64_t index = -1;        // of a list's element; -1: not in a list
  std::string why;           // what would read it

  std::string Name() const;  // "trainer.clip_low", "objective[1].target"
};
std::vector<UnreadKey> FindUnreadKeys(Recipe& recipe);

}  // namespace candor::cli
