package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// setScalar sets v from the text of one scalar. The error says what is
// wanted. Quotes make no difference, so that "${VAR}" works for every type.
func setScalar(v reflect.Value, text string) error {
	if v.Type() == secretType {
		v.Set(reflect.ValueOf(setting.NewSecret(text)))
		return nil
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	if v.Type() == durationType {
		d, err := parseDuration(text)
		if err == nil {
			v.SetInt(int64(d))
		}
		return err
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if err := setScalar(p.Elem(), text); err != nil {
			return err
		}
		v.Set(p)
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return notANumber(text, "a whole number", err)
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return notANumber(text, "a whole number from 0", err)
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil {
			return notANumber(text, "a number", err)
		}
		v.SetFloat(n)
	default:
		panic(fmt.Sprintf("config: a field of type %s", v.Type()))
	}
	return nil
}

func notANumber(text, want string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%q is out of range: want %s", text, want)
	}
	return fmt.Errorf("%q is not %s", text, want)
}

// parseDuration wants a unit: a plain number means seconds to one reader and
// milliseconds to the next.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case text != "" && strings.Trim(text, "0123456789.-+") == "":
		return 0, fmt.Errorf("%q has no unit: write %ss, or another of ms, s, m, h", text, text)
	case err != nil:
		return 0, fmt.Errorf("%q is not a duration: want a number with ms, s, m or h, for example 30s or 168h", text)
	case d < 0:
		return 0, fmt.Errorf("%q is negative", text)
	}
	return d, nil
}

// scalarText is the inverse of setScalar. A secret gives what may be shown.
func scalarText(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	if v.Type() == durationType {
		return durationText(time.Duration(v.Int()))
	}
	return fmt.Sprint(v.Interface())
}

// durationText is d without the zeros of time.Duration: 168h, not 168h0m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
