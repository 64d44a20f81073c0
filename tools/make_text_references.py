#!/usr/bin/env python3
"""Makes tests/golden/text: what Hugging Face's own tokenizers and chat templates give, for the parity tests of text/.

    python3 -m venv /tmp/text-venv
    /tmp/text-venv/bin/pip install tokenizers==0.23.3 transformers==5.23.0 jinja2==3.1.6
    /tmp/text-venv/bin/pip download --no-deps -d /tmp/trl trl==1.16.0 && unzip -qo /tmp/trl/trl-*.whl -d /tmp/trl
    /tmp/text-venv/bin/python tools/make_text_references.py --templates /tmp/trl/trl/chat_templates --smollm2 models/SmolLM2-135M-Instruct

The 10,000 lines are not stored: they follow from `fragments.json` and a few lines of arithmetic that tests/unit/text/parity_lines.h repeats. Of their ids, one hash per 100 lines is.
With --all every template of the TRL package is rendered (for a look, into another --out; the committed set is the list TEMPLATES).
"""
import argparse
import datetime
import json
import os
import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.utils import chat_template_utils

LINES, BLOCK, SEED = 10_000, 100, 20260214
MASK = (1 << 64) - 1
NOW = datetime.datetime(2024, 7, 26, 12, 34, 56)  # what strftime_now sees
NOW_UNIX_S = 1721997296
# From models under Apache-2.0 or MIT, as TRL (Apache-2.0) ships them; see tests/golden/text/templates/NOTICE.md.
TEMPLATES = ["qwen2_5_training", "qwen3", "qwen3_training", "qwen3_5_think_training", "phi3", "phi3_5_training", "deepseekv3_training",
             "deepseek_r1_distill", "glm4moe_training", "gptoss"]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

SENTENCES = """All human beings are born free and equal in dignity and rights.
Which country is the city of Lyon in?  It's France, isn't it? They'll say we've no idea; I'd bet on it.
Tous les êtres humains naissent libres et égaux en dignité et en droits. L'œuvre naïve coûte 12,50 €.
Alle Menschen sind frei und gleich an Würde und Rechten geboren. Straßenübergangsänderungsgesetz!
Todos los seres humanos nacen libres e iguales en dignidad y derechos. ¿Cuántos años? ¡Ñandú!
Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Coração, avó, pão.
Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Perché no?
Все люди рождаются свободными и равными в своём достоинстве и правах.
Всі люди народжуються вільними і рівними у своїй гідності та правах. Ґанок, їжак.
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.
Wszyscy ludzie rodzą się wolni i równi w swojej godności i prawach. Źdźbło, łódź, gęś.
Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Příliš žluťoučký kůň.
Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Árvíztűrő tükörfúrógép.
Toate ființele umane se nasc libere și egale în demnitate și în drepturi.
Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İstanbul ılık.
Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.
Alla människor är födda fria och lika i värde och rättigheter. Räksmörgås på ön.
Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.
Semua orang dilahirkan merdeka dan mempunyai martabat dan hak-hak yang sama.
Watu wote wamezaliwa huru, hadhi na haki zao ni sawa.
人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。
人人生而自由,在尊嚴和權利上一律平等。臺北市信義區。
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。カタカナ ﾊﾝｶｸ
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. ㅋㅋㅋ
มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।
সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।
மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.
ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును నగుదురు.
ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.
Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։
כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. שָׁלוֹם
يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. ١٢٣٤٥ ـــ
تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند.
تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔
የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።
མི་རིགས་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌།
មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព
လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း
Хүн бүр төрж мэндлэхдээ эрх чөлөөтэй, адилхан нэр төртэй
👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇫🇷🇯🇵 ❤️‍🔥 ☃️ 🤖🤖🤖 😀😃😄
e\u0301 cafe\u0301 \u0041\u030a ﬁ ﬂ Å Å ½ ² ㎏ Ⅷ ™ … “quoted” ‘single’ — – ‐
zero\u200bwidth\u200djoin\ufeff bom \u00a0nbsp\u2003em\u3000ideographic \u2028line\u2029para
def f(x: int) -> str:\\n    return f"{x!r:>10}"  # comment\\n\\n\\nif __name__ == "__main__":\\n\\tprint(f(3))
for (int i = 0; i < n; ++i) { a[i] += b[i] * 0x1F; } // C++20 <=> operator""_s
{"name": "get_weather", "args": {"city": "Zürich", "days": 3, "lat": 47.5, "ok": true, "x": null}}
SELECT * FROM t WHERE a >= 10 AND b LIKE '%foo%' ORDER BY c DESC;
<think> reasoning </think>\\n<answer>42</answer>\\n<confidence>0.85</confidence>
<|im_start|>user\\nhello<|im_end|>\\n<|im_start|>assistant\\n
<|endoftext|><s></s><unk><pad> [INST] <<SYS>>
\\boxed{\\frac{3}{4}} $x^2 + y^2 = z^2$ \\int_0^\\infty e^{-t}\\,dt
https://example.org/a/b?c=d&e=%20f#g user.name+tag@mail.example.com
1234567890 3.14159 1,000,000 0.00001 1e-9 12/31/1999 23:59:59 +49 (30) 123-456
\\t\\t  \\n \\n\\n   \\r\\n    trailing   
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!!!!!!!!!!!!!!!!????????........--------========
THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG camelCaseWord snake_case_word kebab-case-word""".encode().decode("utf-8")
RANGES = [[0x20, 0x7E], [0x00, 0x1F], [0x80, 0x24F], [0x300, 0x36F], [0x370, 0x5FF], [0x600, 0x6FF], [0x900, 0xDFF], [0x1100, 0x11FF], [0x1E00, 0x1FFF],
          [0x2000, 0x206F], [0x20A0, 0x2BFF], [0x3000, 0x30FF], [0x4E00, 0x9FFF], [0xAC00, 0xD7A3], [0xE000, 0xE0FF], [0xFE00, 0xFFFD], [0x10000, 0x100FF],
          [0x1D400, 0x1D7FF], [0x1F300, 0x1FAFF], [0x20000, 0x2A6DF], [0xE0100, 0xE01EF], [0x10FF00, 0x10FFFF]]


def fragments():
    unescape = {"\\n": "\n", "\\t": "\t", "\\r": "\r", "\\\\": "\\"}
    lines = SENTENCES.split("\n")
    for old, new in unescape.items():
        lines = [line.replace(old, new) if "boxed" not in line else line for line in lines]
    return lines


def split_mix(x):  # core/rng.h
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def make_line(i, parts):
    """tests/unit/text/parity_lines.h does the same."""
    draw = lambda k: split_mix(split_mix(SEED ^ i) ^ k)
    text = ""
    for j in range(1, 2 + draw(0) % 10):
        r = draw(j)
        kind = r % 16
        if kind == 0:
            for m in range(1 + (r >> 8) % 5):
                c = draw(1000 * j + m)
                low, high = RANGES[c % len(RANGES)]
                text += chr(low + (c >> 8) % (high - low + 1))
        elif kind == 1:
            text += str((r >> 16) % 1_000_000_000)
        else:
            part = parts[(r >> 8) % len(parts)]
            if (r >> 32) % 3 > 0:
                words = part.split(" ")
                part = words[(r >> 36) % len(words)]
            text += part
        text += ["", " ", "\n", "  "][(r >> 56) % 4]
    return text


class Fnv:
    """FNV-1a, 64 bits."""

    def __init__(self):
        self.h = 0xCBF29CE484222325

    def add(self, data):
        for b in data:
            self.h = ((self.h ^ b) * 0x100000001B3) & MASK

    def hex(self):
        return f"{self.h:016x}"


def hash_lines(tokenizer, lines):
    ids_hashes, decode_hashes, offset_hashes = [], [], []
    for start in range(0, len(lines), BLOCK):
        ids_hash, decode_hash, offset_hash = Fnv(), Fnv(), Fnv()
        for line in lines[start:start + BLOCK]:
            encoding = tokenizer.encode(line, add_special_tokens=True)
            for i in encoding.ids + [MASK >> 32]:
                ids_hash.add(i.to_bytes(4, "little"))
            decode_hash.add(tokenizer.decode(encoding.ids, skip_special_tokens=True).encode() + b"\xff")
            byte_at = [0]
            for c in line:
                byte_at.append(byte_at[-1] + len(c.encode()))
            for begin, end in encoding.offsets:
                offset_hash.add(byte_at[begin].to_bytes(4, "little") + byte_at[end].to_bytes(4, "little"))
        ids_hashes.append(ids_hash.hex())
        decode_hashes.append(decode_hash.hex())
        offset_hashes.append(offset_hash.hex())
    return {"ids": ids_hashes, "decoded": decode_hashes, "offsets": offset_hashes}


def train_tiny(parts):
    """GPT-2-like: byte-level BPE with single digits, as SmolLM2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=640, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(parts * 2, trainer)
    tokenizer.add_tokens([AddedToken("<answer>", normalized=False)])
    return tokenizer


def train_sentencepiece(parts):
    """Llama-2-like: "▁" for spaces, bytes for what the vocabulary lacks, a BOS token, and a rule to trim."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    latin = [p for p in parts if all(ord(c) < 0x250 for c in p)]
    trained.train_from_iterator(latin, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    names += [t for t in sorted(model["vocab"], key=model["vocab"].get)]
    vocab = {t: i for i, t in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m) for m in model["merges"]], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = trained.normalizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.add_tokens([AddedToken("[MASK]", lstrip=True, rstrip=False, single_word=False, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocab["<s>"])])
    return tokenizer


TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Get weather <b>now</b> & 'later' — é", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "City"}, "units": {"type": "string", "enum": ["c", "f"]},
                                     "days": {"type": "integer"}, "lat": {"type": "number"}}, "required": ["city"]}, "return": {"type": "string"}}}]
ARGUMENTS = {"city": "Zürich", "days": 3, "lat": 47.5, "x": None, "y": True, "z": [1, 2.0, 1e-05, 1e16], "e": {}, "q": "it's \"so\"\n"}
CHATS = {
    "simple": [{"role": "user", "content": "Hi <there> & \"you\" 'x' é 日本 🤖\n  indented\n"}],
    "multi": [{"role": "system", "content": "You are é."}, {"role": "user", "content": " a "}, {"role": "assistant", "content": "b\n\nc "},
              {"role": "user", "content": "d"}],
    "train": [{"role": "system", "content": "S"}, {"role": "user", "content": "q1"}, {"role": "assistant", "content": "<think>\nabc\n</think>\n\nans1"},
              {"role": "user", "content": "q2"}, {"role": "assistant", "content": "ans2", "reasoning_content": "because é"}],
    "tool": [{"role": "user", "content": "weather?"},
             {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1___", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}]},
             {"role": "tool", "tool_call_id": "call_1___", "name": "get_weather", "content": "{\"t\": 21}"},
             {"role": "assistant", "content": "21"}, {"role": "user", "content": "ok"}],
}
EDGE_TEMPLATE = r"""{# What chat templates lean on in Python's Jinja2, one line each. #}
{%- set ns = namespace(n=0, seen=[]) %}
{% for m in messages %}
  {%- if loop.first %}{{ bos_token }}{% endif %}
{{ loop.index0 }}|{{ m.role | upper }}|{{ m['content'] | trim }}|{{ m.get('name', 'none') }}|{{ m.missing }}|{{ m.content is defined }}
  {% if m.content is string and m.content.startswith('<think>') %}
{{ m.content.split('</think>')[-1].lstrip('\n') }}~{{ m.content.rstrip() | length }}
  {% endif %}
    {% set ns.n = ns.n + 1 %}
    {% set ns.seen = ns.seen + [m.role] %}
{% endfor %}
{{ ns.n }} {{ ns.seen }} {{ ns.seen | join(',') }} {{ ('a', 1) }} {{ {'k': none, 'b': true, "it's": 1.5} }} {{ none }} {{ true }} {{ 1e16 }} {{ 0.1 + 0.2 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ -7 % 3 }}
{{ messages[-1] | tojson }}
{{ {'b': [1, 2.0, none], 'a': 'é\u2028\x7f<&>"'} | tojson(indent=2) }}
{{ {'b': 1, 'a': 'é🤖'} | tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}
{{ tools | tojson(indent=4) if tools else 'no tools' }}
{{ strftime_now('%d %b %Y, %H:%M:%S %A %j %y%%|%f|%z|%Z|') }}
{{ messages[1:] | map(attribute='role') | list }} {{ messages[::-1] | length }} {{ 'x' ~ 1 ~ none ~ [1, 'a'] }} {{ 'abc'[1:] }} {{ "%s-%d" | format('q', 3) }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ 'a b  c'.split() }} {{ 'Title case'.title() }} {{ ' x '.strip() | replace('x', 'y') }} {{ range(3) | list }}
{% for k, v in messages[0].items() %}{{ k }}={{ v | string | length }}{{ ";" if not loop.last }}{% endfor %}
{% for m in messages if m.role == 'assistant' %}{%- if m.content == 'stop' %}{% break %}{% endif %}
[{% generation %}{{ m.content }}{% endgeneration %}]{%- generation -%} x {% endgeneration %}
{%- else %}nobody{% endfor %}
{%- macro show(x, sep=', ') %}<{{ x | join(sep) }}>{% endmacro %}
{{ show([1, 2, 'é']) }} {{ show(['p'], sep='-') }}
{% if not add_generation_prompt and messages[0].role == 'user' and messages | length == 1 %}{{ raise_exception('needs a prompt: é') }}{% endif %}
{%- if enable_thinking is defined and enable_thinking is false %}no thinking{% endif %}
"""


def byte_spans(text, spans):
    return [[len(text[:a].encode()), len(text[:b].encode())] for a, b in spans]


def render_case(source, name, prompt, extra):
    marked = "endgeneration" in source
    messages = json.loads(json.dumps(CHATS[name]))
    try:
        rendered, spans = chat_template_utils.render_jinja_template([messages], tools=TOOLS if name == "tool" else None, chat_template=source,
                                                                    return_assistant_tokens_mask=marked, add_generation_prompt=prompt, **SPECIAL, **extra)
    except Exception as e:  # a template that refuses a chat is a result, too
        return {"error": str(e)}
    return {"text": rendered[0], "spans": byte_spans(rendered[0], spans[0]) if marked else []}


def make_template_cases(folder, names, out, smollm2):
    class FixedClock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return NOW

    chat_template_utils.datetime = FixedClock
    (out / "templates").mkdir(exist_ok=True)
    sources = {name: (pathlib.Path(folder) / f"{name}.jinja").read_text() for name in names}
    sources["edge_cases"] = EDGE_TEMPLATE
    sources["smollm2"] = (pathlib.Path(smollm2) / "chat_template.jinja").read_text()
    cases = []
    for template, source in sources.items():
        (out / "templates" / f"{template}.jinja").write_text(source)
        for chat in CHATS:
            for prompt in (False, True):
                for extra in ({}, {"enable_thinking": False}):
                    if extra and "enable_thinking" not in source:
                        continue
                    cases.append({"template": template, "chat": chat, "add_generation_prompt": prompt, "extra": extra, **render_case(source, chat, prompt, extra)})
    data = {"now_unix_s": NOW_UNIX_S, "special": SPECIAL, "chats": CHATS, "tools": TOOLS, "cases": cases}
    lines = ["{"] + [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}," for k, v in data.items() if k != "cases"]
    lines += ['"cases": ['] + [",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)] + ["]}"]
    (out / "template_cases.json").write_text("\n".join(lines) + "\n")
    print(len(sources), "templates,", len(cases), "renders,", sum("error" in c for c in cases), "of them refusals")


def write_tiny_model(out, tiny, smollm2):
    folder = out / "tiny_model"
    folder.mkdir(exist_ok=True)
    tiny.save(str(folder / "tokenizer.json"), pretty=False)
    config = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2]}) + "\n")
    (folder / "chat_template.jinja").write_text((pathlib.Path(smollm2) / "chat_template.jinja").read_text())


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--templates", required=True, help="folder trl/chat_templates of the TRL package")
    args.add_argument("--smollm2", required=True, help="folder with SmolLM2's tokenizer.json and chat_template.jinja (tools/prepare_smollm2.py)")
    args.add_argument("--out", default=str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "text"))
    args.add_argument("--all", action="store_true", help="every template of the folder")
    a = args.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    out = pathlib.Path(a.out)
    out.mkdir(parents=True, exist_ok=True)

    parts = fragments()
    (out / "fragments.json").write_text(json.dumps({"seed": SEED, "lines": LINES, "block": BLOCK, "ranges": RANGES, "fragments": parts}, ensure_ascii=False, indent=0) + "\n")
    lines = [make_line(i, parts) for i in range(LINES)]
    text_hash = Fnv()
    for line in lines:
        text_hash.add(line.encode() + b"\xff")
    tiny, piece = train_tiny(parts), train_sentencepiece(parts)
    write_tiny_model(out, tiny, a.smollm2)
    piece.save(str(out / "tiny_sentencepiece.json"), pretty=False)
    hashes = {"text": text_hash.hex()}
    for name, tokenizer in (("tiny", tiny), ("sentencepiece", piece), ("smollm2", Tokenizer.from_file(a.smollm2 + "/tokenizer.json"))):
        hashes[name] = hash_lines(tokenizer, lines)
        print(name, tokenizer.get_vocab_size(), "tokens in the vocabulary,", sum(len(tokenizer.encode(line).ids) for line in lines), "in the lines")
    (out / "line_hashes.json").write_text(json.dumps(hashes) + "\n")
    names = sorted(p.stem for p in pathlib.Path(a.templates).glob("*.jinja")) if a.all else TEMPLATES
    make_template_cases(a.templates, names, out, a.smollm2)


if __name__ == "__main__":
    main()
