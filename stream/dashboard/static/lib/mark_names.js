// @ts-check
// What operators find on an event, in words.

export const MARKS = { false_alarm: "False alarm", true_defect: "True defect", missed_defect: "Missed defect", good: "Good" };

// Marks by which a part is defective, whatever its verdict.
export const DEFECTIVE = ["true_defect", "missed_defect"];

/** @param {{verdict: Verdict}} event @returns {string[]} the marks that it can have */
export const marksOf = (event) => (event.verdict === "GOOD" ? ["missed_defect", "good"] : ["false_alarm", "true_defect"]);
