"""The texts of the sample documents that `make_sample_docs.py` writes. Data only."""

from __future__ import annotations

# One entry a page; lines are set as they are broken here.
ORRA_LIGHT_MANUAL = [
    """
# MV Orra Light
## Operating manual, edition 3

For masters and mates of the electric ferry on route 3,
Sandwick to Skell Landing. Keep one copy on the bridge.

## At a glance

Built: 2021, Fjellstrand yard, aluminium catamaran
Length: 24 m, draught 1.5 m
Passengers: 96, no vehicles, four bicycles
Crew: 3
Propulsion: two electric motors of 300 kW each
Battery: 1.8 MWh, lithium iron phosphate, in two rooms
Range: 22 nautical miles at 12 knots
Service speed: 12 knots; most economical speed: 9.5 knots

She has no diesel engine at all. If both batteries fail she is
a raft with good windows: anchor first, then call for a tow.
""",
    """
# Charging

## At the pier

The charger at Sandwick gives 1.2 MW. From 20 to 80 per cent it
takes 38 minutes. The plug is moved by an arm; never pull it by
hand. The arm does not connect when the ship rolls more than four
degrees: charge at the inner pier then, at 150 kW.

## Limits

Never leave Sandwick with less than 45 per cent. A return trip to
Skell uses 19 per cent in calm weather and up to 31 per cent
against wind and tide. Below 15 per cent the heating is switched
off without asking you.

## In winter

The ship is laid up from October to April. Keep the battery
between 40 and 60 per cent and above 5 degrees Celsius. Do a
capacity test every February. Below 80 per cent of the capacity
when new, the battery is replaced.
""",
    """
# Alarms

## Battery temperature

The warning comes at 45 degrees Celsius: reduce to half power.
The alarm comes at 58 degrees: stop the motor on that side, open
the breaker, and start the water mist in that battery room.

Do not open the door of a battery room after an alarm. The gas
burns and is poisonous. Wait four hours, even if it looks cold.

## Insulation fault

A yellow lamp on the port console. Sail on, report to the chief
engineer on the same day.

## Loss of steering

Use the motors: port and starboard turn the ship at any speed
above two knots. The emergency tiller is behind the third bench
on the starboard side, under the lost property.
""",
    """
# Towing and anchoring

## Being towed

Make fast at the two blue bollards forward, not at the rail. The
greatest towing speed is 6 knots. Lock the propellers.

## Anchor

One anchor of 120 kg with 90 m of chain. The ground off Skell is
rock with sand in the gaps: lay out at least five times the depth
and watch the bearing of the lighthouse for a quarter of an hour.

## Whom to call

Hollin port control, channel 12. Kittiwake, if she is at sea, is
the nearest ship that can tow. The bird warden has a boat with
40 horsepower and has towed the Orra Light once, in July 2023,
over 300 metres. She mentions it.
""",
]

SAFETY_REPORT = [
    """
# Safety report 2025

To the members of the Varrow Line, by the harbour master.

## Summary

In 2025 we carried 412,306 passengers and 58,940 vehicles.
Of 9,418 planned crossings 9,102 sailed. Of the 316 that were
cancelled, 271 were cancelled for weather, 29 for technical
reasons and 16 for other ones, among them a whale in the harbour
of Sandwick that could not be hurried.

96.4 per cent of the crossings arrived within ten minutes of the
timetable.

Nobody died. Four passengers and two crew members were hurt.
""",
    """
# Incidents

## 4 March: contact with the pier

The Agnes Tull touched the pier of Sandwick at 1.5 knots when a
gust of 57 knots caught her. Two plates dented, cost 14,200
pounds. The fenders at the pier head have been doubled.

## 22 July: smoke on the Orra Light

A hand dryer in the toilet overheated. The room was empty. All
hand dryers have been replaced by paper towels.

## 8 November: bow ramp of the Kittiwake

A pin of the starboard cylinder sheared at Orra Quay. The cars
waited 47 minutes. The cause was a pin of the wrong steel. The
chief engineer's letter of 10 November has the details.
""",
    """
# Injuries

Slips on wet stairs: three passengers, one of them with a broken
wrist. The stairs of the Kittiwake now have rubber edges.
A trapped finger in a toilet door: one passenger.
A strained back while lifting mooring lines: one linesman.
A burn from soup: one cook, who has asked us not to name him.

# Drills

51 drills were planned, 50 were held. The one left out was on
Thursday 25 December. The average time until both muster stations
of the Agnes Tull reported complete was 5 minutes 20 seconds;
the target is 6 minutes.
""",
    """
# What we will do in 2026

1. Replace the radar of the Kittiwake, or at least its magnetron.
2. Put cameras under all bow ramps. Budget: 18,500 pounds.
3. Train six more people in the use of the rescue boat, so that
   there are two on every watch. Eleven are trained today.
4. Renew the lights on the life-jackets in March 2027: order them
   this autumn, since delivery takes fourteen weeks.
5. Hold one drill at night and one with a real power failure.

Hollin, 30 January 2026
Ruth Adeyemi, harbour master
""",
]

BOARD_MINUTES = """
# Minutes of the board, 11 March 2026

Held in the school at Sandwick, 18:30 to 21:05. The Agnes Tull waited for those who had to get home.

Present: Miriam Okafor (chair), Ruth Adeyemi, Colm Reyes, Nkechi Obi, Hamza Siddiqui, Elin Strand. Apologies: Per
Lindqvist, who was at sea. Minutes: Freya Holt.

## 1. The new ship

The board has chosen the offer of the Halvorsen yard in Norway for a second electric ferry. The price is 9.4 million
pounds, the delivery is planned for spring 2028. The working name is Skua. She will replace the Kittiwake on the
route to Orra Quay. Two thirds of the price are a loan of the island development bank at 2.9 per cent over 20 years.

Vote: five in favour, one against (Mr Siddiqui, who would have preferred a ship built in this country).

## 2. Dogs

From 1 June 2026 dogs travel free on all routes. The loss is estimated at 11,000 pounds a year, and the saving in
arguments at the gangway is thought to be larger.

## 3. Ticket app

The app "Gangway" starts in October 2026. Paper tickets remain for as long as anybody wants them.

## 4. Who does what

| Task | Who | Until |
|---|---|---|
| Contract with the yard | Miriam Okafor | 30 April 2026 |
| Charging station at Orra Quay, permit | Ruth Adeyemi | 31 August 2026 |
| Name of the ship, vote of the members | Elin Strand | annual meeting, October 2026 |
| Repair of the ticket hall roof | Colm Reyes | before winter |

## 5. Other business

- The choir may use the saloon of the Kittiwake on Tuesdays in winter.
- The coffee in the ticket hall was discussed. Nothing was decided.

The next meeting is on 17 June 2026 in Hollin.
""".replace("|---|---|---|\n", "")

# Title, points and speaker's notes of each slide.
STRATEGY: list[tuple[str, list[str], str]] = [
    (
        "Strategy to 2030",
        ["Varrow Line, annual meeting of the members", "Miriam Okafor, October 2025"],
        "Wait until the fiddlers have stopped.",
    ),
    (
        "Where we stand",
        [
            "1,906 members, three ships, 84 employees",
            "2.1 million litres of diesel a year",
            "Two thirds of our passengers are islanders",
        ],
        "The Agnes Tull alone burns 1.5 million litres. That is why she comes last: there is no battery for her yet.",
    ),
    (
        "Goal: 60 per cent less diesel by 2030",
        [
            "2028: electric ferry to Orra Quay",
            "2029: shore power for the Agnes Tull at night",
            "2030: slower timetable in winter, 12.5 instead of 14.5 knots",
        ],
        "Base year is 2023. Sailing slower saves 18 per cent of the fuel and costs nine minutes.",
    ),
    (
        "Goal: nobody is stranded",
        [
            "A bed for everyone when the last boat is cancelled",
            "Agreements with 41 households and both hotels",
            "The company pays up to 70 pounds a night",
        ],
        "In 2024 this happened on 13 evenings, 212 people in all. Nobody slept in the ticket hall.",
    ),
    (
        "What could go wrong",
        [
            "The yard delivers late",
            "The price of electricity",
            "Too few young engineers: four of nine retire before 2031",
        ],
        "We pay for two apprentices a year from 2026. Tomasz has promised to stay until they can do it without him.",
    ),
]

BUDGET: dict[str, list[list[str | int]]] = {
    "Income": [
        ["item", "pounds 2025", "pounds 2026", "remark"],
        ["Passenger tickets", 3742000, 3905000, "fares up by 2.5 per cent"],
        ["Vehicles", 2210000, 2304000, ""],
        ["Freight and mail", 486000, 495000, "mail contract until 2029"],
        ["Galley and kiosk", 318000, 325000, "of which chowder 41,000"],
        ["Island subsidy", 1650000, 1650000, "unchanged since 2022"],
    ],
    "Costs": [
        ["item", "pounds 2025", "pounds 2026", "remark"],
        ["Wages", 2840000, 2960000, "84 employees, two apprentices"],
        ["Fuel", 1262000, 1184000, "2.05 million litres"],
        ["Electricity", 96000, 104000, "charger at Sandwick"],
        ["Maintenance and docking", 1475000, 1390000, "Kittiwake in dry dock in April"],
        ["Insurance", 412000, 431000, ""],
        ["Harbour dues", 388000, 392000, ""],
        ["Cameras under the bow ramps", 0, 18500, "safety report 2025"],
        ["Cat food and vet", 640, 655, "Bosun"],
    ],
    "Investments": [
        ["item", "pounds 2026", "pounds 2027", "pounds 2028"],
        ["Electric ferry, working name Skua", 1880000, 3760000, 3760000],
        ["Charging station Orra Quay", 120000, 640000, 0],
        ["Roof of the ticket hall", 86000, 0, 0],
    ],
}

WINTER_DUTIES = """
# Winterdienst an Bord

Betriebsanweisung für die Decksmannschaft, gültig vom 1. November bis zum 31. März. Verantwortlich ist der jeweilige
Steuermann der Wache.

## Eis und Schnee

Auf den Decks wird kein Salz gestreut, denn Salz frisst die Rampenlager. Gestreut wird Sand; er steht in blauen
Kisten neben den Treppen. Die Deckheizung der Agnes Tull wird eingeschaltet, sobald die Lufttemperatur unter 2 Grad
fällt. Die Kittiwake hat keine Deckheizung: dort wird ab 0 Grad alle zwei Stunden gekehrt.

## Leinen

Gefrorene Leinen werden nicht geknickt. Sie kommen für mindestens drei Stunden in den Trockenraum. Eine Leine, die
einmal steif gefroren war, wird am selben Tag vom Bootsmann geprüft.

## Rettungsinseln

Die Auslöser der Rettungsinseln werden bei Frost jeden Morgen von Hand bewegt. Eis wird mit dem Gummihammer entfernt,
nie mit heißem Wasser.

## Tee

Bei weniger als minus 5 Grad haben die Leute an Deck nach jeder halben Stunde Anspruch auf zehn Minuten Wärme und
einen Tee. Der Koch weiß Bescheid. Rum gibt es erst nach Dienstschluss.
"""

# Heading and paragraphs of each chapter.
CYCLING_GUIDE: list[list[str]] = [
    [
        "The loop",
        "The road round Greater Varrow is 34 kilometres long. Ride it clockwise: then the wind, which is "
        "nearly always from the south-west, is behind you on the long straight of the north shore.",
        "Count on three hours, or on five with the beach at Ness Sands. There are no traffic lights on the "
        "island and one roundabout, which was built by mistake.",
        "The highest point is Tor Head, 212 metres above the sea. The last kilometre rises at eleven per "
        "cent. On a clear day you see the lighthouse of Skell from the top.",
    ],
    [
        "Food and water",
        "The café at Wick Mill, at kilometre 17, is open from ten to five and closed on Mondays. Its rhubarb "
        "cake is worth the detour in either direction.",
        "Drinking water: at the church of Saint Olaf, at kilometre 9, and at the fire station in Norby, at "
        "kilometre 26. Do not drink from the burns; the sheep got there first.",
    ],
    [
        "Repairs",
        "There is a repair stand with a pump behind the ticket office in Sandwick. Ask for the key inside; "
        "the deposit is one shoe.",
        "Gil Thomason in Norby mends bicycles in his garage. He has spokes and inner tubes, and he takes "
        "payment in eggs or pounds. If the flag is up, he is at home.",
        "A puncture on the north shore means a walk of eight kilometres, or the school bus at a quarter past "
        "four, which takes bicycles when the driver is in a good mood.",
    ],
]
