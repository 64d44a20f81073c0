#!/usr/bin/env bash
# prepare.sh hotpotqa|bigmath [MODEL]: makes data/<set> from the files in data/downloads, and says what has to be put where. Downloads nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "${1-}" != --help ] || { sed -n '2s/^# //p' "$0" && exit 0; }
set_name=${1-} model=${2-Qwen2.5-7B} downloads=data/downloads missing=0
want() {  # FILE HOW: complains unless FILE is there
  [ -e "$1" ] || { echo "prepare: $1 is missing: $2" >&2; missing=1; }
}
owner=Qwen && [ "$model" = Qwen2.5-7B ] || owner=mehuldamani
want "models/$model/config.json" "huggingface-cli download $owner/$model --local-dir models/$model"
case $set_name in
  hotpotqa)
    if [ ! -e data/hotpotqa/prepared.json ]; then
      for file in hotpot_train_v1.1.json hotpot_dev_distractor_v1.json; do
        want "$downloads/$file" "wget -P $downloads http://curtis.ml.cmu.edu/datasets/hotpot/$file"
      done
      [ $missing = 1 ] || ./candor data hotpotqa "$downloads/hotpot_train_v1.1.json" "$downloads/hotpot_dev_distractor_v1.json" --out data/hotpotqa
    fi ;;
  bigmath)
    if [ ! -e data/bigmath/prepared.json ]; then
      want "$downloads/big-math.jsonl" "python3 -c \"import datasets; datasets.load_dataset('SynthLabsAI/Big-Math-RL-Verified', split='train').to_json('$downloads/big-math.jsonl')\" (after accepting its terms there)"
      [ $missing = 1 ] || ./candor data bigmath "$downloads/big-math.jsonl" --out data/bigmath
    fi ;;
  *) echo "prepare: name a set: hotpotqa or bigmath" >&2 && exit 2 ;;
esac
exit $missing
