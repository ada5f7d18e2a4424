package triton

import (
	"strconv"
	"sync"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
)

// logSettings are what the logging extension shows and changes.
type logSettings struct {
	mu      sync.Mutex
	file    string
	info    bool
	warning bool
	error   bool
	verbose uint32
	format  string
}

func newLogSettings(verbose uint32) *logSettings {
	return &logSettings{info: true, warning: true, error: true, verbose: verbose, format: "default"}
}

// update takes over the settings that it knows and ignores others.
func (s *logSettings) update(members rapidjson.Object) *core.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range members {
		text, isText := m.Value.Str()
		flag, isFlag := m.Value.Bool()
		number, isNumber := m.Value.Uint64()
		switch {
		case m.Name == "log_format" && isText && (text == "default" || text == "ISO8601"):
			s.format = text
		case m.Name == "log_format":
			return core.Errorf(core.InvalidArg, "invalid value for log_format: '%s'", text)
		case m.Name == "log_info" && isFlag:
			s.info = flag
		case m.Name == "log_warning" && isFlag:
			s.warning = flag
		case m.Name == "log_error" && isFlag:
			s.error = flag
		case m.Name == "log_verbose_level" && isNumber:
			s.verbose = uint32(number)
		}
	}
	return nil
}

func (s *logSettings) appendJSON(dst []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	dst = append(dst, `{"log_file":`...)
	dst = rapidjson.AppendString(dst, s.file)
	dst = append(dst, `,"log_info":`...)
	dst = strconv.AppendBool(dst, s.info)
	dst = append(dst, `,"log_warning":`...)
	dst = strconv.AppendBool(dst, s.warning)
	dst = append(dst, `,"log_error":`...)
	dst = strconv.AppendBool(dst, s.error)
	dst = append(dst, `,"log_verbose_level":`...)
	dst = strconv.AppendUint(dst, uint64(s.verbose), 10)
	dst = append(dst, `,"log_format":`...)
	dst = rapidjson.AppendString(dst, s.format)
	return append(dst, '}')
}

func (s *logSettings) updateGRPC(in *inferencepb.LogSettingsRequest) *core.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, v := range in.Settings {
		switch name {
		case "log_format":
			if text := v.GetStringParam(); text != "default" && text != "ISO8601" {
				return core.Errorf(core.InvalidArg, "invalid value for log_format: '%s'", text)
			}
			s.format = v.GetStringParam()
		case "log_info":
			s.info = v.GetBoolParam()
		case "log_warning":
			s.warning = v.GetBoolParam()
		case "log_error":
			s.error = v.GetBoolParam()
		case "log_verbose_level":
			s.verbose = v.GetUint32Param()
		}
	}
	return nil
}

func (s *logSettings) grpc() *inferencepb.LogSettingsResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	type value = inferencepb.LogSettingsResponse_SettingValue
	flag := func(v bool) *value {
		return &value{ParameterChoice: &inferencepb.LogSettingsResponse_SettingValue_BoolParam{BoolParam: v}}
	}
	text := func(v string) *value {
		return &value{ParameterChoice: &inferencepb.LogSettingsResponse_SettingValue_StringParam{StringParam: v}}
	}
	return &inferencepb.LogSettingsResponse{Settings: map[string]*value{
		"log_file": text(s.file), "log_format": text(s.format),
		"log_info": flag(s.info), "log_warning": flag(s.warning), "log_error": flag(s.error),
		"log_verbose_level": {ParameterChoice: &inferencepb.LogSettingsResponse_SettingValue_Uint32Param{Uint32Param: s.verbose}},
	}}
}
