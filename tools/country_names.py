"""Names under which a country is accepted as an answer, and places whose country is no plain fact. ISO 3166 alpha-2 codes throughout.

Case, punctuation and a leading "the" do not matter to the verifier, so the lists hold only forms that differ in more than that.
"""

# The first name of a list is the one shown; a country that is not here has only its name in GeoNames.
ALIASES = {
    "AE": ["United Arab Emirates", "UAE", "Emirates"],
    "AU": ["Australia", "Commonwealth of Australia"],
    "BA": ["Bosnia and Herzegovina", "Bosnia", "Bosnia & Herzegovina", "Bosnia-Herzegovina"],
    "BN": ["Brunei", "Brunei Darussalam"],
    "BO": ["Bolivia", "Plurinational State of Bolivia"],
    "BR": ["Brazil", "Brasil"],
    "BY": ["Belarus", "Byelorussia", "Belorussia"],
    "CD": ["Democratic Republic of the Congo", "Democratic Republic of Congo", "DR Congo", "DRC", "D.R. Congo", "Congo-Kinshasa", "Congo", "Zaire",
           "Congo, Democratic Republic of the"],
    "CF": ["Central African Republic", "CAR"],
    "CG": ["Republic of the Congo", "Republic of Congo", "Congo-Brazzaville", "Congo"],
    "CI": ["Ivory Coast", "Côte d'Ivoire", "Cote d'Ivoire"],
    "CN": ["China", "People's Republic of China", "PRC", "PR China", "Mainland China"],
    "CV": ["Cape Verde", "Cabo Verde"],
    "CZ": ["Czech Republic", "Czechia"],
    "DE": ["Germany", "Federal Republic of Germany", "Deutschland"],
    "DO": ["Dominican Republic"],
    "EG": ["Egypt", "Arab Republic of Egypt"],
    "ES": ["Spain", "Kingdom of Spain", "España"],
    "FR": ["France", "French Republic"],
    "GB": ["United Kingdom", "UK", "U.K.", "Great Britain", "Britain", "United Kingdom of Great Britain and Northern Ireland"],
    "GM": ["Gambia"],
    "GR": ["Greece", "Hellas", "Hellenic Republic"],
    "GW": ["Guinea-Bissau", "Guinea Bissau"],
    "IE": ["Ireland", "Republic of Ireland", "Eire"],
    "IN": ["India", "Republic of India", "Bharat"],
    "IR": ["Iran", "Islamic Republic of Iran", "Persia"],
    "IT": ["Italy", "Italia"],
    "JP": ["Japan", "Nippon"],
    "KG": ["Kyrgyzstan", "Kyrgyz Republic"],
    "KH": ["Cambodia", "Kampuchea"],
    "KP": ["North Korea", "Democratic People's Republic of Korea", "DPRK"],
    "KR": ["South Korea", "Republic of Korea", "Korea", "ROK"],
    "LA": ["Laos", "Lao People's Democratic Republic", "Lao PDR"],
    "LY": ["Libya", "State of Libya"],
    "MD": ["Moldova", "Republic of Moldova"],
    "MK": ["North Macedonia", "Macedonia", "Republic of North Macedonia"],
    "MM": ["Myanmar", "Burma"],
    "MX": ["Mexico", "México", "United Mexican States"],
    "NL": ["Netherlands", "Holland", "Kingdom of the Netherlands"],
    "NZ": ["New Zealand", "Aotearoa"],
    "PS": ["Palestine", "State of Palestine", "Palestinian Territory", "Palestinian Territories"],
    "PH": ["Philippines", "Republic of the Philippines"],
    "PL": ["Poland", "Polska"],
    "RU": ["Russia", "Russian Federation"],
    "SA": ["Saudi Arabia", "Kingdom of Saudi Arabia", "KSA"],
    "ST": ["Sao Tome and Principe", "São Tomé and Príncipe"],
    "SY": ["Syria", "Syrian Arab Republic"],
    "SZ": ["Eswatini", "Swaziland"],
    "TL": ["East Timor", "Timor-Leste", "Timor Leste"],
    "TR": ["Turkey", "Türkiye", "Turkiye"],
    "TW": ["Taiwan", "Republic of China"],
    "TZ": ["Tanzania", "United Republic of Tanzania"],
    "US": ["United States", "United States of America", "USA", "U.S.A.", "US", "U.S.", "America"],
    "VA": ["Vatican City", "Vatican", "Holy See"],
    "VE": ["Venezuela", "Bolivarian Republic of Venezuela"],
    "VN": ["Vietnam", "Viet Nam", "Socialist Republic of Vietnam"],
    "ZA": ["South Africa", "Republic of South Africa", "RSA"],
}

# Parts of a country that are themselves commonly called countries: (country, GeoNames admin1 code) → further accepted names.
PART_NAMES = {
    ("GB", "ENG"): ["England"],
    ("GB", "SCT"): ["Scotland"],
    ("GB", "WLS"): ["Wales"],
    ("GB", "NIR"): ["Northern Ireland"],
}

# Dependent territories and the state they belong to: never asked about; where one shares a name with a city, both its own name and the state's are accepted.
TERRITORIES = {
    "AI": "GB", "AS": "US", "AW": "NL", "AX": "FI", "BL": "FR", "BM": "GB", "BQ": "NL", "CC": "AU", "CK": "NZ", "CW": "NL", "CX": "AU", "FK": "GB",
    "FO": "DK", "GF": "FR", "GG": "GB", "GI": "GB", "GL": "DK", "GP": "FR", "GU": "US", "HK": "CN", "IM": "GB", "IO": "GB", "JE": "GB", "KY": "GB",
    "MF": "FR", "MO": "CN", "MP": "US", "MQ": "FR", "MS": "GB", "NC": "FR", "NF": "AU", "NU": "NZ", "PF": "FR", "PM": "FR", "PN": "GB", "PR": "US",
    "RE": "FR", "SH": "GB", "SJ": "NO", "SX": "NL", "TC": "GB", "TF": "FR", "TK": "NZ", "UM": "US", "VG": "GB", "VI": "US", "WF": "FR", "YT": "FR",
}  # fmt: skip

# Places on whose country states disagree: never asked about, because no answer would be plainly right. The list takes no side.
DISPUTED_COUNTRIES = {"EH", "PS", "TW", "XK"}
DISPUTED_PARTS = {("UA", "11"), ("UA", "20"), ("UA", "05"), ("UA", "14"), ("UA", "08"), ("UA", "26")}  # GeoNames admin1 codes
