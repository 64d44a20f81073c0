// Judges of pairs: tournaments within a group (RRM, arXiv 2505.14674; RM-R1, arXiv 2505.02387).
#include "reward/judges/judge_parts.h"
#include "reward/judges/votes.h"

namespace candor {

namespace {

// What both orders of one pair said.
struct Meeting {
  std::optional<double> share;  // of the first player: the mean of both orders
  bool consistent = false;
};

class TournamentJudge final : public GroupJudge {
 public:
  explicit TournamentJudge(std::unique_ptr<JudgeParts> parts) : parts_(std::move(parts)) {}

  GroupChannels Judge(const GroupToJudge& group) const override {
    std::vector<size_t> trace_of;  // player -> trace
    for (size_t i = 0; i < group.completions_G.size(); ++i)
      if (group.plays_G[i]) trace_of.push_back(i);
    const size_t players = trace_of.size();
    std::vector<double> agreed(players), games_of(players);
    const auto play = [&](std::vector<Game>& games) {
      const std::vector<Meeting> meetings = Meet(group, trace_of, games);
      for (size_t i = 0; i < games.size(); ++i) {
        games[i].share = meetings[i].share;
        if (!games[i].share) continue;
        for (const size_t player : {games[i].a, games[i].b}) games_of[player] += 1.0, agreed[player] += meetings[i].consistent ? 1.0 : 0.0;
      }
    };
    const std::vector<std::optional<double>> scores = Scores(group, players, play);
    GroupChannels channels(group.completions_G.size());
    const std::string& name = parts_->options.name;
    for (size_t player = 0; player < players; ++player) {
      auto& mine = channels[trace_of[player]];
      if (scores[player]) mine[name] = *scores[player];
      mine[name + "/games"] = games_of[player];
      if (games_of[player] > 0.0) mine[name + "/consistent"] = agreed[player] / games_of[player];
    }
    return channels;
  }

 private:
  template <typename Play>
  std::vector<std::optional<double>> Scores(const GroupToJudge& group, size_t players, const Play& play) const {
    if (players < 2) return std::vector<std::optional<double>>(players);
    if (parts_->options.tournament == "round_robin") {
      std::vector<Game> games = RoundRobin(players);
      play(games);
      return RoundRobinScores(games, players);
    }
    Knockout knockout(players, group.id);
    while (!knockout.over()) {
      std::vector<Game> games = knockout.NextRound();
      play(games);
      knockout.Take(games);
    }
    return knockout.Scores();
  }

  // All games at once. The same text twice is a tie that nobody is asked about.
  std::vector<Meeting> Meet(const GroupToJudge& group, const std::vector<size_t>& trace_of, const std::vector<Game>& games) const {
    std::vector<JudgeQuestion> questions;
    std::vector<size_t> begin_of(games.size());
    const auto text = [&](size_t player) { return std::string(group.completions_G[trace_of[player]]); };
    for (size_t i = 0; i < games.size(); ++i) {
      begin_of[i] = questions.size();
      const std::string a = text(games[i].a), b = text(games[i].b);
      if (a == b) continue;
      for (const bool swapped : {false, true}) {
        const JudgeFields fields = {{"prompt", std::string(group.prompt)},
                                    {"reference", ReferenceOf(group.row)},
                                    {"first", swapped ? b : a},
                                    {"second", swapped ? a : b}};
        const std::string id = fmt::format("{}/{}-{}", group.id, trace_of[games[i].a], trace_of[games[i].b]);
        AddQuestions(parts_->file, fields, id, swapped ? 1 : 0, parts_->options.votes, questions);
      }
    }
    const auto answers = parts_->client->AskAll(questions);
    std::vector<Meeting> meetings(games.size());
    for (size_t i = 0; i < games.size(); ++i) {
      const size_t end = i + 1 < games.size() ? begin_of[i + 1] : questions.size();
      meetings[i] = begin_of[i] == end ? Meeting{0.5, true} : ReadMeeting(group, answers, begin_of[i]);
    }
    return meetings;
  }

  Meeting ReadMeeting(const GroupToJudge& group, const std::vector<Result<JudgeAnswer>>& answers, size_t begin) const {
    const auto votes = static_cast<size_t>(parts_->options.votes);
    double shares[2] = {};
    for (const size_t swapped : {size_t{0}, size_t{1}}) {
      std::vector<double> read;
      for (size_t v = begin + swapped * votes; v < begin + (swapped + 1) * votes; ++v)
        if (const auto vote = answers[v] ? ReadVerdict(parts_->file, *answers[v]) : std::nullopt)
          read.push_back(swapped == 1 ? 1.0 - *vote : *vote);
      if (std::ssize(read) < parts_->options.min_votes) {  // one order alone would carry its preference for a place
        const std::vector<Result<JudgeAnswer>> mine(answers.begin() + static_cast<std::ptrdiff_t>(begin),
                                                    answers.begin() + static_cast<std::ptrdiff_t>(begin + 2 * votes));
        parts_->failures.Note(parts_->options.name, fmt::format("group {}", group.id),
                              {ErrorCode::kUnavailable, WhyUnjudged(mine, parts_->options.min_votes), "", ""});
        return {};
      }
      shares[swapped] = SummariseVotes(read).mean;
    }
    return {(shares[0] + shares[1]) / 2.0, (shares[0] > 0.5) == (shares[1] > 0.5) && (shares[0] < 0.5) == (shares[1] < 0.5)};
  }

  const std::unique_ptr<JudgeParts> parts_;
};

}  // namespace

Result<std::unique_ptr<GroupJudge>> MakeGroupJudge(const JudgeOptions& options) {
  CANDOR_ASSIGN(std::unique_ptr<JudgeParts> parts, MakeJudgeParts(options));
  return std::unique_ptr<GroupJudge>(std::make_unique<TournamentJudge>(std::move(parts)));
}

}  // namespace candor
