// ShardedPolicy::LoadFolder: a Hugging Face folder into this rank's slices. The files are mapped and read tensor by tensor, so no rank ever
// holds the whole policy.
#include <algorithm>
#include <map>
#include <memory>

#include "model/safetensors_io.h"
#include "trainer/sharded_policy.h"

namespace candor {

namespace {

class TensorFiles {
 public:
  static Result<TensorFiles> Open(const std::string& folder) {
    TensorFiles all;
    CANDOR_ASSIGN(std::vector<std::string> paths, SafetensorsFilesOf(folder));
    for (const std::string& path : paths) {
      CANDOR_ASSIGN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
      all.files_.push_back(std::move(file));
    }
    all.folder_ = folder;
    return all;
  }
  Result<at::Tensor> Find(const ParamSpec& param) const {
    for (const auto& file : files_) {
      auto found = file->tensors().find(param.name);
      if (found == file->tensors().end()) continue;
      if (found->second.sizes() != at::IntArrayRef(param.shape))
        return Fail(ErrorCode::kInvalidInput, "tensor " + param.name + " does not have the shape that config.json says", file->path());
      if (!at::isFloatingType(found->second.scalar_type()))
        return Fail(ErrorCode::kInvalidInput, "tensor " + param.name + " holds integers", file->path(),
                    "use the model's unquantised weights");
      return found->second;
    }
    return Fail(ErrorCode::kInvalidInput, "tensor " + param.name + " is missing", folder_, "the folder must hold the whole model");
  }

 private:
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::string folder_;
};

}  // namespace

Status ShardedPolicy::LoadFolder(const std::string& folder) {
  CANDOR_ASSIGN(TensorFiles files, TensorFiles::Open(folder));
  for (size_t u = 0; u < units_.size(); ++u) {
    const UnitShard& shard = plan_.units[u];
    int64_t begin = shard.begin, end = shard.begin + shard.Valid();
    for (const ParamSpec& param : units_[u].params) {
      CANDOR_ASSIGN(at::Tensor tensor, files.Find(param));
      int64_t from = std::max(begin, param.offset), to = std::min(end, param.offset + param.Count());
      if (from >= to) continue;
      states_[u].master.narrow(0, from - begin, to - from).copy_(tensor.reshape({-1}).narrow(0, from - param.offset, to - from));
    }
    if (options_.average) states_[u].average.copy_(states_[u].master);
  }
  MastersChanged();
  return {};
}

}  // namespace candor
