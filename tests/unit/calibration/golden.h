// The golden cases: tests/golden/metrics.json, made by running the libraries named in it.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "calibration/rows.h"

namespace candor::calibration {

using Json = nlohmann::json;

inline const Json& Golden() {
  static const Json golden = Json::parse(std::ifstream(std::string(CANDOR_SOURCE_DIR) + "/tests/golden/metrics.json"));
  return golden;
}

inline const Json& GoldenCase(const std::string& id) {
  for (const Json& one : Golden().at("cases"))
    if (one.at("id") == id) return one;
  throw std::runtime_error("no golden case " + id);
}

inline Points DatasetPoints(const std::string& name) {
  const Json& data = Golden().at("datasets").at(name);
  return MakePoints(data.at("p").get<std::vector<double>>(), data.at("y").get<std::vector<double>>());
}

// Asserts the case's expected value under `key` ("" is the expected value itself) within the case's own tolerance.
class Case {
 public:
  explicit Case(const std::string& id) : id_(id), json_(GoldenCase(id)), tolerance_(json_.at("tol").get<double>()) {}
  const Json& inputs() const { return json_.at("inputs"); }
  const Json& params() const { return json_.at("params"); }
  const Json& expected() const { return json_.at("expected"); }
  Points points() const { return DatasetPoints(inputs().at("dataset")); }
  void Expect(const std::string& key, double actual) const { ExpectAt(expected().at(key), actual, key); }
  void Expect(double actual) const { ExpectAt(expected(), actual, ""); }
  void ExpectAll(const Json& expected_list, const std::vector<double>& actual, const std::string& what) const {
    ASSERT_EQ(expected_list.size(), actual.size()) << id_ << " " << what;
    for (size_t i = 0; i < actual.size(); ++i) ExpectAt(expected_list[i], actual[i], what + "[" + std::to_string(i) + "]");
  }
  void ExpectAll(const std::string& key, const std::vector<double>& actual) const { ExpectAll(expected().at(key), actual, key); }

 private:
  void ExpectAt(const Json& expected, double actual, const std::string& what) const {
    if (expected == "nan") {
      EXPECT_TRUE(std::isnan(actual)) << id_ << " " << what;
      return;
    }
    EXPECT_NEAR(expected.get<double>(), actual, tolerance_) << id_ << " " << what;
  }
  std::string id_;
  const Json& json_;
  double tolerance_;
};

}  // namespace candor::calibration
