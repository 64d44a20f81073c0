#include "reward/channels.h"

namespace candor {

std::map<std::string, double> ComputeChannels(const ChannelInputs& inputs) {
  std::map<std::string, double> channels;
  channels["format"] = inputs.format_ok ? 1.0 : 0.0;
  if (!inputs.format_ok) {
    channels["accuracy"] = channels["soft"] = 0.0;
    if (inputs.wants_confidence) channels["brier"] = 0.0;
    return channels;
  }
  if (inputs.label == Label::kUnknown) return channels;
  double correct = inputs.label == Label::kCorrect ? 1.0 : 0.0;
  channels["accuracy"] = correct;
  channels["soft"] = inputs.soft_label;
  if (inputs.wants_confidence && inputs.confidence) {
    double miss = inputs.confidence->value() - correct;
    channels["brier"] = 1.0 - miss * miss;
  }
  return channels;
}

}  // namespace candor
