package modelconfig

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
)

// AppendJSON appends a completed configuration as /v2/models/NAME/config shows
// it: snake_case names, empty lists and maps and zero numbers written, 64-bit
// integers as numbers, absent messages left out.
func AppendJSON(dst []byte, config proto.Message) []byte {
	return appendMessage(dst, config.ProtoReflect())
}

// order returns the field order of Triton's own schema where it differs from
// that of the field numbers.
func order(message protoreflect.Name) string {
	switch message {
	case "ModelConfig":
		return " name platform backend runtime version_policy max_batch_size input output batch_input batch_output optimization" +
			" dynamic_batching sequence_batching ensemble_scheduling instance_group default_model_filename cc_model_filenames" +
			" metric_tags parameters model_warmup model_operations model_transaction_policy model_repository_agents response_cache model_metrics "
	case "ModelOutput":
		return " name data_type dims reshape label_filename is_shape_tensor is_non_linear_format_io "
	case "ModelInstanceGroup":
		return " name kind count rate_limiter gpus secondary_devices profile passive host_policy "
	case "Control":
		return " kind int32_false_true fp32_false_true bool_false_true data_type "
	}
	return ""
}

func fields(message protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	list := make([]protoreflect.FieldDescriptor, message.Fields().Len())
	for i := range list {
		list[i] = message.Fields().Get(i)
	}
	if names := order(message.Name()); names != "" {
		slices.SortStableFunc(list, func(a, b protoreflect.FieldDescriptor) int {
			return strings.Index(names, " "+string(a.Name())+" ") - strings.Index(names, " "+string(b.Name())+" ")
		})
	}
	return list
}

func appendMessage(dst []byte, m protoreflect.Message) []byte {
	dst = append(dst, '{')
	first := true
	for _, f := range fields(m.Descriptor()) {
		if f.HasPresence() && !m.Has(f) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = rapidjson.AppendString(dst, string(f.Name()))
		dst = append(dst, ':')
		dst = appendField(dst, f, m.Get(f))
	}
	return append(dst, '}')
}

func appendField(dst []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case f.IsMap():
		return appendMap(dst, f, v.Map())
	case f.IsList():
		dst = append(dst, '[')
		for i := range v.List().Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendScalar(dst, f, v.List().Get(i))
		}
		return append(dst, ']')
	}
	return appendScalar(dst, f, v)
}

func appendMap(dst []byte, f protoreflect.FieldDescriptor, m protoreflect.Map) []byte {
	var keys []protoreflect.MapKey
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return strings.Compare(a.String(), b.String()) })
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = rapidjson.AppendString(dst, k.String())
		dst = append(dst, ':')
		dst = appendScalar(dst, f.MapValue(), m.Get(k))
	}
	return append(dst, '}')
}

func appendScalar(dst []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return appendMessage(dst, v.Message())
	case protoreflect.EnumKind:
		if value := f.Enum().Values().ByNumber(v.Enum()); value != nil {
			return rapidjson.AppendString(dst, string(value.Name()))
		}
		return strconv.AppendInt(dst, int64(v.Enum()), 10)
	case protoreflect.StringKind:
		return rapidjson.AppendString(dst, v.String())
	case protoreflect.BytesKind:
		return rapidjson.AppendString(dst, v.Bytes())
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool())
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return rapidjson.AppendFloat(dst, v.Float())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, v.Uint(), 10)
	}
	return strconv.AppendInt(dst, v.Int(), 10)
}
