// Package rapidjson reads and writes JSON the way Triton's own library does:
// with its error messages and offsets, with NaN and Infinity, with a
// difference between integers and floating-point numbers, with strings that
// need not be UTF-8, and with its formatting of doubles.
//
// A document is checked once and then read in place, so a tensor of a million
// numbers costs no tree of a million nodes.
package rapidjson
