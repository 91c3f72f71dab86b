"""Everyday things that somebody might look for in videos: what unrelated words score in a library is measured with these.

They are spread as widely as we could think, so that hardly any library holds more than a few of them; where it does, `cutoff` allows
for it.
"""

from __future__ import annotations

_THINGS = """
an old typewriter; a pair of reading glasses; a brass doorknob; a paper map; a wooden ladder; a broken umbrella; a stack of coins;
a ball of wool; a fire extinguisher; a kitchen scale; a set of keys; a sewing machine; a grandfather clock; a rusty nail; a light bulb;
a roll of tape; a chess board; a deck of cards; a globe; a microscope; a stapler; a pocket watch; a candle holder; a mailbox;
a shopping trolley; a tea kettle; a toothbrush; a thermometer; a vacuum cleaner; a washing machine; a lawn mower; a wheelbarrow;
a garden hose; a hammer and nails; a power drill; a paint brush; a tin of paint; a bookshelf; a filing cabinet; a photocopier;
a telephone box; a traffic cone; a parking meter; a stop sign; a bus shelter; a crane; a cement mixer; a fork lift; a satellite dish;
a wind turbine; a solar panel; a power line; a water tower; a lighthouse; a church organ; a trumpet; a grand piano; a drum kit;
a violin; an accordion
"""
_FOOD = """
a bowl of noodle soup; a slice of bread with butter; a plate of pancakes; a birthday cake with candles; a glass of orange juice;
a cup of black coffee; a wheel of cheese; a basket of apples; a bunch of bananas; a pile of potatoes; a roast chicken; grilled fish;
a jar of honey; a box of chocolates; an ice cream cone; a salad with tomatoes; peeled garlic; chopped onions; boiling pasta;
kneading dough; frying an egg; pouring wine; washing dishes; slicing a lemon; stirring a pot; a fruit market; a butcher's counter;
sushi on a tray; a hot dog with mustard; popcorn
"""
_ANIMALS = """
a sleeping cat; a dog on a leash; a flock of sheep; a herd of cows; a horse in a stable; a goldfish in a bowl; a parrot in a cage;
a spider in its web; a bee on a flower; a snail on a leaf; a frog in a pond; a squirrel in a tree; a hedgehog; a fox in the snow;
a bear catching salmon; a lion in the grass; an elephant at a waterhole; a giraffe; a penguin colony; a whale's tail; a jellyfish;
a coral reef; a tortoise; a snake; a swarm of ants; a woodpecker; an owl at night; seagulls above a harbour; a hen with chicks; a donkey
"""
_PLACES = """
an empty car park; a supermarket aisle; a hospital corridor; a dentist's chair; a court room; a school classroom; a lecture hall;
a chemistry laboratory; a library reading room; a hotel lobby; an airport gate; a railway platform; a subway tunnel; a petrol station;
a motorway at night; a toll booth; a harbour with containers; a shipyard; a coal mine; a steel works; a saw mill; a printing press;
a server room; an office with cubicles; a meeting around a table; a hairdresser's; a laundrette; a flower shop; a toy shop;
a second-hand bookshop; a castle on a hill; a ruined abbey; a mosque; a pagoda; a log cabin; an igloo; a tent in a forest;
a cave with stalactites; a waterfall; a frozen lake; a sand dune; a volcano; a glacier; a rice terrace; a vineyard; a wheat field;
a tulip field; a bamboo forest; a swamp; a cliff by the sea
"""
_DOINGS = """
signing a letter; reading a newspaper; typing on a keyboard; talking on the telephone; tying shoelaces; ironing a shirt; folding towels;
changing a light bulb; hanging a picture; mopping the floor; cleaning a window; making a bed; watering plants; raking leaves;
shovelling snow; chopping wood; painting a fence; laying bricks; welding metal; changing a tyre; refuelling a car; parking a lorry;
repairing a bicycle; paddling a canoe; sailing a boat; fishing from a pier; milking a cow; shearing a sheep; feeding pigeons;
brushing teeth; shaving; putting on lipstick; plaiting hair; knitting a scarf; carving wood; turning a pot; blowing glass;
drawing a portrait; playing chess; solving a puzzle; building a sandcastle; flying a kite; blowing soap bubbles; opening a present;
packing a suitcase; voting at a ballot box; giving a speech; interviewing a politician; reading the news; forecasting the weather
"""
_SIGHTS = """
heavy rain on a window; lightning; a rainbow; fog over a river; falling snow; a full moon; the northern lights; a starry sky; sunset;
clouds from an aeroplane; waves breaking; a campfire; a burning house; a flooded street; an avalanche; fireworks; an eclipse;
a text in large letters; a bar chart; a line of program code; a company logo; a black screen; a test card; a spinning globe;
a cartoon character; a video game; a map of Europe; a national flag; a close-up of an eye; a hand holding a pen; an X-ray picture;
cells under a microscope; a rocket launch; an astronaut; the surface of the moon; a crowd at a concert; an empty theatre;
a wedding ceremony; a funeral; a military parade; a traffic jam; a car crash; a police car; an ambulance; a fire engine; a tractor;
a tram; a steam train; a helicopter; a hot-air balloon; a submarine; a ferry
"""

PHRASES: tuple[str, ...] = tuple(
    " ".join(phrase.split()) for some in (_THINGS, _FOOD, _ANIMALS, _PLACES, _DOINGS, _SIGHTS) for phrase in some.split(";")
)
